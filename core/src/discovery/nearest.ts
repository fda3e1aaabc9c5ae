import { byText } from './closure.ts';

/** Up to five of the candidates, those first that differ least from the word. */
export function nearest(word: string, candidates: Iterable<string>): readonly string[] {
  const distances = [...new Set(candidates)].map((text) => ({ text, distance: editDistance(word, text) }));
  return distances
    .sort((a, b) => a.distance - b.distance || byText(a.text, b.text))
    .slice(0, 5)
    .map(({ text }) => text);
}

/** Levenshtein: insertions, deletions and replacements of one character that lead from `a` to `b`. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(replaced, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
