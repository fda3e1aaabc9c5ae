import { BlockList, isIP } from 'node:net';

type Env = Readonly<Record<string, string | undefined>>;

/**
 * The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY (or lower case) name for a server, by Go's rules, which kubectl follows:
 * loopback is never proxied; NO_PROXY lists `*`, hosts (which match their subdomains too), `.domain`, addresses and CIDR ranges, each
 * with an optional port.
 */
export function proxyFromEnv(server: URL, env: Env): string | undefined {
  const scheme = server.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const proxy = env[scheme] ?? env[scheme.toLowerCase()] ?? '';
  if (proxy === '' || isExempt(server, env['NO_PROXY'] ?? env['no_proxy'] ?? '')) return undefined;
  return proxy.includes('://') ? proxy : `http://${proxy}`;
}

function isExempt(server: URL, noProxy: string): boolean {
  const host = server.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = server.port || (server.protocol === 'https:' ? '443' : '80');
  if (host === 'localhost' || isLoopback(host)) return true;
  const rules = noProxy.split(',').map((rule) => rule.trim().toLowerCase());
  return rules.some((rule) => rule !== '' && matches(rule, host, port));
}

function matches(rule: string, host: string, port: string): boolean {
  if (rule === '*') return true;
  const [range, bits] = rule.split('/');
  if (bits !== undefined) return isInRange(host, range ?? '', Number(bits));
  const [, name = rule, rulePort] = isIP(rule) > 0 ? [] : (/^\[?(.*?)\]?(?::(\d+))?$/.exec(rule) ?? []);
  if (rulePort !== undefined && rulePort !== port) return false;
  if (isIP(name) > 0) return name === host;
  const domain = name.replace(/^\*?\./, '');
  return host.endsWith(`.${domain}`) || (host === domain && domain === name);
}

function isInRange(host: string, range: string, bits: number): boolean {
  const family = isIP(host);
  if (family === 0 || family !== isIP(range) || !Number.isInteger(bits) || bits < 0 || bits > (family === 4 ? 32 : 128)) return false;
  const list = new BlockList();
  list.addSubnet(range, bits, family === 4 ? 'ipv4' : 'ipv6');
  return list.check(host, family === 4 ? 'ipv4' : 'ipv6');
}

function isLoopback(host: string): boolean {
  return isInRange(host, '127.0.0.0', 8) || host === '::1';
}
