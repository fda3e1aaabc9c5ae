/** Calls `work` for each item, at most `limit` at once. After a failure no further item is begun; when all that were begun have ended, the first failure is thrown. */
export async function forEachParallel<T>(items: Iterable<T>, limit: number, work: (item: T) => Promise<void>): Promise<void> {
  const failures: unknown[] = [];
  const queue = items[Symbol.iterator]();
  const run = async () => {
    for (let next = queue.next(); next.done !== true && failures.length === 0; next = queue.next()) {
      try {
        await work(next.value);
      } catch (e) {
        failures.push(e);
      }
    }
  };
  await Promise.all(Array.from({ length: limit }, run));
  if (failures.length > 0) throw failures[0];
}

/** `map` of each item in their order, the next `limit` under way while one is looked at. */
export async function* mapAhead<T, R>(items: Iterable<T>, limit: number, map: (item: T) => Promise<R>): AsyncGenerator<R> {
  const ahead: Promise<R>[] = [];
  for (const item of items) {
    const result = map(item);
    result.catch(() => undefined); // it is thrown when its turn comes
    ahead.push(result);
    if (ahead.length >= limit) yield await (ahead.shift() as Promise<R>);
  }
  for (const result of ahead) yield await result;
}
