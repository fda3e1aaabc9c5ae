/** Has everything that paints, ours and libraries', do what --color says: all of them look at these variables. */
export function setColors(argv: readonly string[], env: NodeJS.ProcessEnv): void {
  const words = argv.join('\n');
  const color = /^--no-color$/m.test(words) ? 'never' : /^--color[=\n](always|never)$/m.exec(words)?.[1];
  if (color === undefined) return;
  const [wanted, other] = color === 'never' ? (['NO_COLOR', 'FORCE_COLOR'] as const) : (['FORCE_COLOR', 'NO_COLOR'] as const);
  env[wanted] = '1';
  Reflect.deleteProperty(env, other);
}
