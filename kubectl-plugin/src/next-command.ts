import type { Command } from './command.ts';
import { COMMANDS } from './commands/table.ts';
import { EACH_REPOSITORY_FLAGS } from './each-repository.ts';
import { GLOBAL_FLAGS } from './global-flags.ts';
import type { Session } from './session.ts';

/** What says where a call looks. */
const PLACE: readonly string[] = [
  ...['kubeconfig', 'context', 'namespace', 'home-namespace', 'to-context'],
  ...EACH_REPOSITORY_FLAGS.map(({ name }) => name),
];

/** A line up to its end, the next command or a quotation mark: prose may follow the command. */
const LINE = /kubectl dmaas ((?:(?!kubectl dmaas)[^"\n])+)/g;
const WORD = "(?: +(?!-)(?:'[^']*'|[^\\s'\",;:])+)";

/** The text with those flags in each command that it proposes, behind what the command must be given, so that it looks where this call has looked. */
export function withFlags(text: string, session: Session): string {
  return text.replace(LINE, (whole, line: string) => {
    const named = COMMANDS.find(({ path }) => new RegExp(`^${path.join(' ')}(?![\\w-])`).test(line));
    if (named === undefined) return whole;
    const command = (session.args.string('repository') !== undefined && withoutLocation(named)) || named;
    const needed = named.positionals?.filter(({ required }) => required).length ?? 0;
    const [head = '', given = ''] = new RegExp(`^${named.path.join(' ')}(${WORD}{${needed}})`).exec(line) ?? [named.path.join(' ')];
    const rest = line.slice(head.length);
    if (/^ --help\b/.test(rest)) return whole;
    const flags = session.repeat(PLACE.filter((name) => takes(command, name) && !says(rest, name)));
    return `kubectl dmaas ${command.path.join(' ')}${given}${flags === '' ? '' : ` ${flags}`}${rest}`;
  });
}

/** What core says of backups is said of those in a location; without one they are of volumes. */
function withoutLocation({ path }: Command): Command | undefined {
  return path[0] === 'backup' ? COMMANDS.find((other) => other.path[0] === 'volume' && other.path[1] === path[1]) : undefined;
}

function takes({ flags = [] }: Command, name: string): boolean {
  return [...GLOBAL_FLAGS, ...flags].some((flag) => flag.name === name);
}

function says(words: string, name: string): boolean {
  return new RegExp(` (?:${name === 'namespace' ? '-n|' : ''}--${name})(?![\\w-])`).test(words);
}
