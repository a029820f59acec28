/** Figures as files: an SVG that stands on its own, and a PNG drawn from it. */

/** Properties that our style sheets set on drawings. */
const properties = [
  'fill',
  'fill-opacity',
  'stroke',
  'stroke-width',
  'stroke-dasharray',
  'stroke-linecap',
  'stroke-opacity',
  'opacity',
  'font-family',
  'font-size',
  'font-weight',
  'font-style',
] as const;

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
    const style = getComputedStyle(node);
    for (const name of properties) target.setAttribute(name, style.getPropertyValue(name));
    for (const name of ['class', 'style', 'tabindex', 'id']) target.removeAttribute(name);
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
