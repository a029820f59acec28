/** Element construction without markup strings: text can never become HTML. */

type Child = Node | string | undefined | false;

export interface Props {
  class?: string;
  text?: string;
  attrs?: Readonly<Record<string, string | number | boolean | undefined>>;
  on?: { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void };
}

function apply(node: Element, props: Props, children: readonly Child[]): void {
  if (props.class !== undefined) node.setAttribute('class', props.class);
  if (props.text !== undefined) node.textContent = props.text;
  for (const [name, value] of Object.entries(props.attrs ?? {})) setAttr(node, name, value);
  for (const [name, listener] of Object.entries(props.on ?? {})) {
    node.addEventListener(name, listener as EventListener);
  }
  for (const child of children) {
    if (child !== undefined && child !== false) node.append(child);
  }
}

/** Sets or removes an attribute; booleans become presence. */
export function setAttr(
  node: Element,
  name: string,
  value: string | number | boolean | undefined,
): void {
  if (value === undefined || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? '' : String(value));
}

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  apply(node, props, children);
  return node;
}

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: readonly Child[]
): SVGElementTagNameMap[K] {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  apply(node, props, children);
  return node;
}

export function icon(name: string): HTMLElement {
  return h('span', { class: `codicon codicon-${name}`, attrs: { 'aria-hidden': 'true' } });
}

/** A push button with an optional icon. */
export function button(
  label: string,
  onClick: () => void,
  options: { icon?: string; kind?: 'primary' | 'secondary' | 'tool'; title?: string } = {},
): HTMLButtonElement {
  const kind = options.kind ?? 'secondary';
  return h(
    'button',
    {
      class: `button ${kind}`,
      attrs: {
        type: 'button',
        title: options.title,
        'aria-label': kind === 'tool' ? label : undefined,
      },
      on: { click: onClick },
    },
    options.icon !== undefined && icon(options.icon),
    kind === 'tool' ? undefined : h('span', { text: label }),
  );
}

/** Writes text only when it changed, so that screen readers and layout are left alone. */
export function setText(node: Node, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

export function replaceChildren(node: Element, ...children: readonly Child[]): void {
  node.replaceChildren(
    ...children.filter((c): c is Node | string => c !== undefined && c !== false),
  );
}

/** Makes `children` the element's children, moving only those that are not in place. */
export function syncChildren(node: Element, children: readonly Element[]): void {
  children.forEach((child, i) => {
    const there = node.children[i];
    if (there !== child) node.insertBefore(child, there ?? null);
  });
  while (node.children.length > children.length) node.lastElementChild?.remove();
}
