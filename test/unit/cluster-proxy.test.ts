import assert from 'node:assert/strict';
import { proxyFromEnv } from '../../core/src/cluster/proxy.ts';

describe('proxy from the environment', () => {
  const through = (server: string, noProxy = '') =>
    proxyFromEnv(new URL(server), { HTTPS_PROXY: 'http://p:1', NO_PROXY: noProxy }) !== undefined;

  it('depends on the scheme; upper case goes before lower case', () => {
    const env = { HTTP_PROXY: 'http://plain:1', https_proxy: 'https://secure:2' };
    assert.equal(proxyFromEnv(new URL('https://a'), env), 'https://secure:2');
    assert.equal(proxyFromEnv(new URL('http://a'), env), 'http://plain:1');
    assert.equal(proxyFromEnv(new URL('https://a'), { HTTPS_PROXY: 'x:1', https_proxy: 'y:1' }), 'http://x:1');
    assert.equal(proxyFromEnv(new URL('https://a'), { HTTPS_PROXY: '' }), undefined);
    assert.equal(proxyFromEnv(new URL('https://a'), {}), undefined);
  });

  it('is never for this machine', () => {
    for (const host of ['localhost', '127.0.0.1', '127.9.9.9', '[::1]']) assert.equal(through(`https://${host}:6443`), false, host);
  });

  const cases: readonly [noProxy: string, server: string, isProxied: boolean][] = [
    ['*', 'https://a', false],
    ['a.example', 'https://a.example', false],
    ['a.example', 'https://b.a.example', false],
    ['a.example', 'https://ba.example', true],
    ['.example', 'https://a.example', false],
    ['.a.example', 'https://a.example', true],
    ['*.example', 'https://a.example', false],
    [' x , a.example ', 'https://A.example', false],
    ['a.example:6443', 'https://a.example:6443', false],
    ['a.example:6443', 'https://a.example', true],
    ['a.example:443', 'https://a.example', false],
    ['10.0.0.0/8', 'https://10.1.2.3:6443', false],
    ['10.0.0.0/8', 'https://11.1.2.3', true],
    ['10.0.0.0/33', 'https://10.1.2.3', true],
    ['10.0.0.0/8', 'https://ten.example', true],
    ['10.1.2.3', 'https://10.1.2.3:6443', false],
    ['10.1.2.3:80', 'https://10.1.2.3:6443', true],
    ['fd00::/8', 'https://[fd00::1]:6443', false],
    ['fd00::1', 'https://[fd00::1]:6443', false],
    ['', 'https://a', true],
  ];
  for (const [noProxy, server, isProxied] of cases) {
    it(`NO_PROXY="${noProxy}" ${isProxied ? 'does not exempt' : 'exempts'} ${server}`, () => {
      assert.equal(through(server, noProxy), isProxied);
    });
  }
});
