import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/** Forbids imports between folders that the architecture keeps apart. Patterns are import specifiers. */
const layer = (files, patterns, message) => ({
  files,
  rules: { 'no-restricted-imports': ['error', { patterns: patterns.map((regex) => ({ regex, message })) }] },
});

/** What the repository must not know. */
const ABOVE_REPOSITORY = '/(cluster|discovery|mover|transfer|restore)/';
/** The folders of the repository, the lowest first. */
const REPOSITORY_FLOORS = ['format', 'protocol', 'keys', 'index', 'blobs', 'records', 'collection'];

export default tseslint.config(
  { ignores: ['**/dist/**', '**/node_modules/**', 'test/artifacts/**'] },
  js.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: { projectService: { allowDefaultProject: ['.eslint.config.js'] }, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      'max-lines-per-function': ['error', { max: 100, skipComments: true, skipBlankLines: true }],
      'max-statements': ['error', 60],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/prefer-readonly': 'error',
      'no-console': 'error',
      'no-restricted-syntax': [
        'error',
        {
          selector: "ImportDeclaration[source.value='zod'] > ImportSpecifier",
          message: 'import * as z: by name, all languages of its messages come along',
        },
      ],
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      'max-lines-per-function': 'off',
      'max-statements': 'off',
      'no-console': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
    },
  },
  { files: ['**/*.mjs', '**/*.js'], ...tseslint.configs.disableTypeChecked },
  { files: ['**/*.mjs'], languageOptions: { globals: { console: 'readonly', process: 'readonly' } }, rules: { 'no-console': 'off' } },
  layer(['core/src/repository/**'], [ABOVE_REPOSITORY], 'the repository knows blobs and backups, nothing of clusters or files'),
  ...REPOSITORY_FLOORS.map((floor, i) =>
    layer(
      [`core/src/repository/${floor}/**`],
      [ABOVE_REPOSITORY, '^\\.\\./[a-z-]+\\.ts$', ...REPOSITORY_FLOORS.slice(i + 1).map((above) => `^\\.\\./${above}/`)],
      'within the repository each folder knows those below it: format, protocol, keys, index, blobs, records, collection',
    ),
  ),
  layer(['core/src/store/**'], ['/(cluster|repository|discovery|mover|transfer|restore)/'], 'a store knows keys and bytes'),
  layer(['core/src/cluster/**'], ['/(store|repository|discovery|mover|transfer|restore)/'], 'the cluster module knows objects and verbs'),
  layer(['core/src/discovery/**'], ['/(store|repository|mover|transfer|restore)/'], 'discovery reads a cluster'),
  layer(
    ['kubectl-plugin/src/**', 'vscode-extension/src/**'],
    ['@dmaas/core/(?!standalone$)', 'core/src'],
    'surfaces use what the index of core exports',
  ),
);
