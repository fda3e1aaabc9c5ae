// The entry of all npm scripts: `node test/support/run.mjs TASK [ARGUMENT...]`. Runs on whatever Node (18 or later) is there and
// with nothing installed: installs the npm packages when they are missing or not those of package-lock.json, and then runs the
// task on the workspace's own Node.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const TASKS = {
  demo: ['demo.ts'],
  test: ['test.ts'],
  'test:long': ['test.ts', '--long'],
  check: ['check.ts'],
  build: ['build.ts'],
  bench: ['bench.ts'],
  cluster: ['cluster.ts'],
};

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const modules = join(root, 'node_modules');
const node = join(modules, 'node/bin/node');

function fail(message, hint) {
  console.error(`error: ${message}`);
  console.error(`hint: ${hint}`);
  process.exit(1);
}

function packagesOf(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).packages : {};
}

/** Whether node_modules holds what package-lock.json says. Optional packages may be absent, as most are for other platforms. */
function isInstalled() {
  const installed = packagesOf(join(modules, '.package-lock.json'));
  return Object.entries(packagesOf(join(root, 'package-lock.json'))).every(([path, wanted]) => {
    if (!path.includes('node_modules/')) return true;
    const found = installed[path];
    if (found === undefined) return wanted.optional === true || wanted.devOptional === true || wanted.peer === true;
    return found.version === wanted.version && found.resolved === (wanted.link ? wanted.resolved : found.resolved);
  });
}

/** Runs a program to its end, with this one's terminal; returns its exit code. Signals to this process go to it. */
function run(command, args, options = {}) {
  return new Promise((done) => {
    const child = spawn(command, args, { cwd: root, stdio: 'inherit', ...options });
    // Ctrl-C reaches the child by itself; what it does about it decides how this ends.
    const forward = { SIGINT: () => undefined, SIGTERM: () => child.kill('SIGTERM'), SIGHUP: () => child.kill('SIGHUP') };
    for (const [signal, handler] of Object.entries(forward)) process.on(signal, handler);
    child.once('error', () => done(127));
    child.once('close', (code, signal) => {
      for (const [name, handler] of Object.entries(forward)) process.off(name, handler);
      done(code ?? 128 + constants.signals[signal]);
    });
  });
}

/** Settings of the `npm run` around this would make an npm in another directory work on this one. */
function withoutNpmSettings() {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_(config_local_prefix|package|lifecycle|command)/.test(name)),
  );
}

async function installPackages() {
  console.error('installing the npm packages …');
  const code = await run('npm', ['ci', '--no-audit', '--no-fund'], { env: withoutNpmSettings() });
  if (code === 127) fail('there is no npm on PATH', 'install Node with npm: apt-get install npm');
  if (code !== 0) fail(`npm ci ended with ${code}; its messages are above`, 'repair what it names and run the same command again');
}

/** The package `node` fetches its program in an install script, which some versions of npm do not run unasked. */
async function installNode() {
  console.error('installing Node for the workspace …');
  const folder = join(modules, 'node');
  const code = await run(process.execPath, ['installArchSpecificPackage.js'], { cwd: folder, env: withoutNpmSettings() });
  if (code !== 0 || !existsSync(node))
    fail('the npm package node did not install its program', `rm -r ${modules} and run the same command again`);
}

const [task, ...args] = process.argv.slice(2);
const script = TASKS[task];
if (script === undefined) fail(`there is no task ${task ?? ''}`, `the tasks are ${Object.keys(TASKS).join(', ')}`);
if (Number(process.versions.node.split('.')[0]) < 18) fail(`Node ${process.versions.node} is too old`, 'install Node 18 or later');
if (!isInstalled()) await installPackages();
if (!existsSync(node)) await installNode();
const [file, ...fixed] = script;
const env = { ...process.env, PATH: [dirname(node), join(modules, '.bin'), process.env.PATH].join(delimiter) };
process.exitCode = await run(node, [join(here, 'tasks', file), ...fixed, ...args], { env });
