import { cleanupOperation, isOperationId, listOperations, DmaasError, refName, plural } from '@dmaas/core';
import type { Command, Completer } from '../command.ts';
import { noteFindings } from '../findings.ts';

const completeOperations: Completer = async (session) =>
  (await listOperations(await session.cluster(), await session.namespace())).map((o) => ({
    value: o.id,
    describe: plural(o.objects.length + o.stopped.length, 'object'),
  }));

export const cleanup: Command = {
  path: ['cleanup'],
  summary: 'Remove what an interrupted operation left in the cluster, and start what it has stopped',
  description:
    'Removes the Jobs, Secrets, volume snapshots and claims that an interrupted backup or restore made for its own use, and starts the workloads that a backup has stopped and not started again. Restored objects stay: "restore delete" takes those back. Without an operation it lists what there is, also of operations that still run: those are not to be cleaned up.',
  positionals: [{ name: 'OPERATION', describe: 'Id of the operation', required: false, complete: completeOperations }],
  output: true,
  run: async (session, args) => {
    const cluster = await session.cluster();
    const namespace = await session.namespace();
    const id = args.string('OPERATION');
    if (id === undefined) {
      const operations = await listOperations(cluster, namespace);
      return {
        data: { items: operations },
        names: operations.map((o) => `operation/${o.id}`),
        text: () =>
          operations
            .map(
              (o) =>
                `${o.id}  ${[...o.stopped.map((ref) => `${refName(ref)} (stopped)`), ...o.objects.map((ref) => refName(ref))].join(', ')}`,
            )
            .join('\n'),
        notes: [
          operations.length === 0
            ? `nothing is left in namespace ${namespace}`
            : `clean up after one that does not run any more with: kubectl dmaas cleanup ${operations[0]?.id ?? 'OPERATION'} -n ${namespace}`,
        ],
      };
    }
    if (!isOperationId(id)) throw new DmaasError('USAGE', `${id} is no operation id`, { hint: `kubectl dmaas cleanup -n ${namespace}` });
    const { removed, started, findings } = await cleanupOperation(cluster, namespace, id);
    return {
      data: { removed, started, findings },
      names: removed.map((ref) => refName(ref)),
      text: () => [...started.map((ref) => `${refName(ref)} started`), ...removed.map((ref) => `${refName(ref)} deleted`)].join('\n'),
      notes: [`${plural(removed.length, 'object')} of operation ${id} removed`, ...noteFindings(findings)],
      exitCode: findings.length > 0 ? 3 : 0,
    };
  },
};
