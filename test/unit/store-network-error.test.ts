import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { judgeNetworkError, plainCause } from '../../core/src/store/network-error.ts';

const ENDPOINT = 'https://store.example:9000';

function failure(code: string, fields: object = {}): Error {
  return Object.assign(new Error('SECRET'), { code, ...fields });
}

describe('judgeNetworkError', () => {
  it('says what happened to the connection, and that it may come back', () => {
    for (const [error, what] of [
      [failure('ECONNREFUSED'), 'connection refused'],
      [failure('ENOTFOUND'), 'unknown host'],
      [failure('UND_ERR_BODY_TIMEOUT'), 'timed out'],
      [failure('ESOMETHING'), 'ESOMETHING'],
      [new AggregateError([failure('ECONNREFUSED'), failure('ENETUNREACH')]), 'connection refused'],
      [new TypeError('fetch failed', { cause: failure('EAI_AGAIN') }), 'the host name cannot be resolved now'],
      [Object.assign(new Error('x'), { name: 'TimeoutError' }), 'timed out'],
      [new Error('socket hang up'), 'connection lost'],
    ] as const) {
      const verdict = judgeNetworkError(error, ENDPOINT);
      assert.equal(verdict?.error.message, `no answer from ${ENDPOINT} (${what})`);
      assert.equal(verdict.error.code, 'STORE_UNAVAILABLE');
      assert.equal(verdict.retry, true);
    }
  });

  it('does not repeat what a certificate or a protocol makes impossible', () => {
    for (const [code, what] of [
      ['SELF_SIGNED_CERT_IN_CHAIN', /signed by nobody known here$/],
      ['CERT_HAS_EXPIRED', /has expired$/],
      ['CERT_NOT_YET_VALID', /not valid yet$/],
      ['ERR_TLS_CERT_ALTNAME_INVALID', /is for another host$/],
      ['ERR_SSL_WRONG_VERSION_NUMBER', /does not speak TLS$/],
      ['HPE_INVALID_CONSTANT', /does not answer in HTTP$/],
    ] as const) {
      const verdict = judgeNetworkError(failure(code), ENDPOINT);
      assert.match(verdict?.error.message ?? '', what);
      assert.equal(verdict?.retry, false);
      assert.ok(verdict.error.hint);
    }
  });

  it('leaves everything else to others', () => {
    for (const error of [new Error('no code'), 'a string', undefined, failure('lower case')]) {
      assert.equal(judgeNetworkError(error, ENDPOINT), undefined);
    }
  });
});

describe('plainCause', () => {
  it('keeps name, code and the facts given, and nothing a library attached', () => {
    const cause = plainCause(failure('ECONNRESET', { config: { headers: { authorization: 'SECRET' } } }), 'HTTP 500');
    assert.equal(cause.message, 'Error ECONNRESET HTTP 500');
    assert.doesNotMatch(inspect(cause, { depth: 9, showHidden: true }), /SECRET/);
  });
});
