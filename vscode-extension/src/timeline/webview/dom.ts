/** Elements made of values. Text is set as text, never parsed: names of files and objects are anybody's. */
export type Child = HTMLElement | string | undefined;

export function element(tag: string, attributes: Readonly<Record<string, string>>, children: readonly Child[]): HTMLElement {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

export function list(className: string, label: string, items: readonly HTMLElement[]): HTMLElement {
  return element('ul', { class: className, role: 'list', 'aria-label': label }, items);
}

export function button(id: string, title: string, isMain: boolean, press: () => void): HTMLElement {
  const made = element('button', { id, type: 'button', ...(isMain ? { class: 'main' } : {}) }, [title]);
  made.addEventListener('click', press);
  return made;
}

/** `share`: from 0 to 1. */
export function bar(share: number, label: string): HTMLElement {
  return element('progress', { max: '1', value: String(share), 'aria-label': label }, []);
}
