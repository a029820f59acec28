/** Figures as files: an SVG that stands on its own, and a PNG drawn from it. */

/** Properties that our style sheets set on drawings, with the values that need not be written. */
const shapeProperties: Readonly<Record<string, string>> = {
  fill: '',
  stroke: 'none',
  'stroke-width': '1px',
  'stroke-dasharray': 'none',
  'stroke-linecap': 'butt',
  opacity: '1',
};
const textProperties: Readonly<Record<string, string>> = {
  fill: '',
  'font-family': '',
  'font-size': '',
  'font-weight': '400',
  'font-style': 'normal',
};

/** Colours as SVG 1.1 knows them: `color(srgb ...)` and alpha become `#rrggbb` on `background`. */
function plainColor(value: string, background: string): string {
  const read = (text: string): number[] => {
    const parts = text.match(/-?[\d.]+(e-?\d+)?/g)?.map(Number) ?? [];
    const scale = text.startsWith('color(') ? 255 : 1;
    return parts.map((v, i) => (i < 3 ? v * scale : v));
  };
  if (!/^(rgb|color)/.test(value)) return value;
  const [r = 0, g = 0, b = 0, alpha = 1] = read(value);
  if (alpha === 0) return 'none';
  const under = read(background);
  const hex = [r, g, b].map((v, i) => {
    const mixed = Math.round(v * alpha + (under[i] ?? 0) * (1 - alpha));
    return Math.min(255, Math.max(0, mixed)).toString(16).padStart(2, '0');
  });
  return `#${hex.join('')}`;
}

/**
 * Copies a drawing with its computed styles as attributes, so that it looks the same without our style
 * sheets, on the editor's background.
 */
export function standaloneSvg(source: SVGSVGElement, background: string): string {
  const copy = source.cloneNode(true) as SVGSVGElement;
  const from = [source, ...source.querySelectorAll('*')];
  const to = [copy, ...copy.querySelectorAll('*')];
  from.forEach((node, i) => {
    const target = to[i];
    if (target === undefined) return;
    for (const name of ['class', 'style', 'tabindex', 'id', 'aria-activedescendant']) {
      target.removeAttribute(name);
    }
    if (!(node instanceof SVGGeometryElement || node instanceof SVGTextContentElement)) return;
    const style = getComputedStyle(node);
    const wanted = node instanceof SVGGeometryElement ? shapeProperties : textProperties;
    for (const [name, usual] of Object.entries(wanted)) {
      const value = plainColor(style.getPropertyValue(name), background);
      if (value === usual) target.removeAttribute(name);
      else target.setAttribute(name, value);
    }
  });
  // Parts that exist for the pointer only.
  copy.querySelectorAll('[data-export="no"]').forEach((node) => {
    node.remove();
  });
  const box = source.viewBox.baseVal;
  const width = box.width > 0 ? box.width : source.width.baseVal.value;
  const height = box.height > 0 ? box.height : source.height.baseVal.value;
  copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  copy.setAttribute('width', String(width));
  copy.setAttribute('height', String(height));
  copy.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const back = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
  back.setAttribute('width', String(width));
  back.setAttribute('height', String(height));
  back.setAttribute('fill', background);
  copy.prepend(back);
  return new XMLSerializer().serializeToString(copy);
}

/** Rasterises a standalone SVG at `scale` pixels a unit. */
export async function svgToPng(text: string, scale: number): Promise<Uint8Array> {
  const image = new Image();
  const url = URL.createObjectURL(new Blob([text], { type: 'image/svg+xml' }));
  try {
    image.src = url;
    await image.decode();
    const canvas = document.createElement('canvas');
    canvas.width = Math.round(image.naturalWidth * scale);
    canvas.height = Math.round(image.naturalHeight * scale);
    const ctx = canvas.getContext('2d');
    if (ctx === null) throw new Error('no 2d context');
    ctx.drawImage(image, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise<Blob | null>((resolve) => {
      canvas.toBlob(resolve, 'image/png');
    });
    if (blob === null) throw new Error('the image could not be encoded');
    return new Uint8Array(await blob.arrayBuffer());
  } finally {
    URL.revokeObjectURL(url);
  }
}
