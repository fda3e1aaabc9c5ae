/** Small faults in a source, each of which a test should notice (row H2 of the fault matrix). */
import { readFileSync } from 'node:fs';
import ts from 'typescript';
import { mutated, type Mutant } from './mutant.ts';

const OPERATORS: Readonly<Record<string, string>> = {
  '<': '<=',
  '<=': '<',
  '>': '>=',
  '>=': '>',
  '===': '!==',
  '!==': '===',
  '&&': '||',
  '||': '&&',
  '+': '-',
  '-': '+',
  '*': '/',
};
const METHODS: Readonly<Record<string, string>> = { min: 'max', max: 'min', some: 'every', every: 'some' };

/** Every mutant of a file whose syntax is right: operators and conditions turned round, statements left out. What only makes up messages stays as it is. */
export function mutantsOf(file: string): Mutant[] {
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true);
  const mutants: Mutant[] = [];
  const replace = (node: ts.Node, text: string) => {
    const from = node.getStart(source);
    const line = source.getLineAndCharacterOfPosition(from).line + 1;
    mutants.push({ file, line, from, to: node.end, text, before: node.getText(source) });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isTemplateExpression(node) || ts.isImportDeclaration(node)) return;
    mutate(node, replace);
    if (!ts.isThrowStatement(node)) ts.forEachChild(node, visit);
  };
  visit(source);
  return mutants.filter((mutant) => isSyntax(mutated(mutant)));
}

function mutate(node: ts.Node, replace: (node: ts.Node, text: string) => void): void {
  if (ts.isBinaryExpression(node)) {
    const other = OPERATORS[node.operatorToken.getText()];
    const isText = [node.left, node.right].some((side) => ts.isStringLiteralLike(side) || ts.isTemplateExpression(side));
    if (other !== undefined && !isText) replace(node.operatorToken, other);
  } else if (ts.isIfStatement(node)) {
    replace(node.expression, 'true');
    replace(node.expression, 'false');
  } else if (ts.isConditionalExpression(node)) {
    replace(node.condition, 'true');
    replace(node.condition, 'false');
  } else if (ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.ExclamationToken) {
    replace(node, node.operand.getText());
  } else if (node.kind === ts.SyntaxKind.TrueKeyword || node.kind === ts.SyntaxKind.FalseKeyword) {
    replace(node, node.kind === ts.SyntaxKind.TrueKeyword ? 'false' : 'true');
  } else if (ts.isThrowStatement(node) || (ts.isExpressionStatement(node) && !isSuper(node))) {
    replace(node, ';');
  } else if (ts.isPropertyAccessExpression(node) && ts.isCallExpression(node.parent) && node.parent.expression === node) {
    const other = METHODS[node.name.text];
    if (other !== undefined) replace(node.name, other);
  }
}

function isSuper({ expression }: ts.ExpressionStatement): boolean {
  return ts.isCallExpression(expression) && expression.expression.kind === ts.SyntaxKind.SuperKeyword;
}

function isSyntax(text: string): boolean {
  return (
    ts.transpileModule(text, { reportDiagnostics: true, compilerOptions: { target: ts.ScriptTarget.ESNext } }).diagnostics?.length === 0
  );
}
