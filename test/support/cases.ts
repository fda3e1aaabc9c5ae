/** How many cases a test stands for, such as the calls at which a run was killed: for the table of test/MATRIX.md. A test that says nothing is one. */
let count = 0;

/** Of the test that runs. */
export function addCases(more: number): void {
  count += more;
}

/** What was counted since this was called before; at least one. */
export function takeCases(): number {
  const counted = Math.max(count, 1);
  count = 0;
  return counted;
}
