import { listAt, mapAt, stringAt, stringsAt } from '../discovery/read.ts';
import type { Json } from '../discovery/read.ts';

type Labels = Readonly<Record<string, string>>;

/** Whether a `LabelSelector` chooses what has these labels. One that says nothing, or is absent, chooses everything. */
export function selectorMatches(selector: unknown, labels: Labels): boolean {
  return (
    Object.entries(mapAt(selector, 'matchLabels')).every(([key, value]) => labels[key] === value) &&
    listAt(selector, 'matchExpressions').every((expression) => meets(expression, labels))
  );
}

/** Whether labels meet one expression of a label selector or of a node selector. */
export function meets(expression: Json, labels: Labels): boolean {
  const value = labels[stringAt(expression, 'key') ?? ''];
  const values = stringsAt(expression, 'values');
  switch (stringAt(expression, 'operator')) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    case 'Gt':
      return value !== undefined && Number(value) > Number(values[0]);
    case 'Lt':
      return value !== undefined && Number(value) < Number(values[0]);
    default:
      return true;
  }
}
