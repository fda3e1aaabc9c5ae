import { VERSION } from '@dmaas/core';
import type { Command } from '../command.ts';

export const version: Command = {
  path: ['version'],
  summary: 'Version of this client, and of the cluster',
  output: true,
  flags: [{ name: 'client', type: 'boolean', describe: 'Do not ask the cluster' }],
  run: async (session, args) => {
    const client = { version: VERSION, node: process.versions.node, platform: `${process.platform}-${process.arch}` };
    const server = args.bool('client') ? undefined : await (await session.cluster()).version();
    return {
      data: { client, ...(server === undefined ? {} : { server }) },
      text: () =>
        [
          `Client: v${client.version} (Node ${client.node}, ${client.platform})`,
          ...(server === undefined ? [] : [`Server: ${server.gitVersion}`]),
        ].join('\n'),
    };
  },
};
