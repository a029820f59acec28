import type { Theme } from '../shared/theme';

export interface Picture {
  title: string;
  legend: readonly { label: string; color: string; value: string }[];
  canvas: HTMLCanvasElement;
}

const MARGIN = 24;
const GAP = 20;
const TITLE = 26;
const LEGEND_LINE = 19;

interface Placed {
  picture: Picture;
  /** Legend entries with their position in the picture's own area. */
  legend: { entry: Picture['legend'][number]; x: number; y: number }[];
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Places the pictures in rows as wide as the widest, each with a legend that wraps. */
function layOut(
  pictures: readonly Picture[],
  ratio: number,
  measure: (text: string) => number,
): { placed: Placed[]; width: number; height: number } {
  const inner = Math.max(...pictures.map((p) => p.canvas.width / ratio));
  const placed: Placed[] = [];
  let x = 0;
  let y = 0;
  let row = 0;
  for (const picture of pictures) {
    const width = picture.canvas.width / ratio;
    if (x > 0 && x + width > inner + 1) {
      x = 0;
      y += row + GAP;
      row = 0;
    }
    let legendX = 0;
    let line = 0;
    const legend = picture.legend.map((entry) => {
      const needed = 44 + measure(legendText(entry));
      if (legendX > 0 && legendX + needed > width) {
        legendX = 0;
        line += 1;
      }
      const place = { entry, x: legendX, y: TITLE + line * LEGEND_LINE };
      legendX += needed;
      return place;
    });
    const head = TITLE + (line + 1) * LEGEND_LINE;
    const height = head + picture.canvas.height / ratio;
    placed.push({ picture, legend, x, y, width, height });
    row = Math.max(row, height);
    x += width + GAP;
  }
  return { placed, width: inner, height: y + row };
}

function legendText(entry: Picture['legend'][number]): string {
  return `${entry.label}  ${entry.value}`;
}

/** Puts the charts, as drawn, on one sheet with titles and legends, and encodes a PNG. */
export async function chartsToPng(
  title: string,
  pictures: readonly Picture[],
  theme: Theme,
): Promise<Uint8Array> {
  const ratio = window.devicePixelRatio;
  const canvas = document.createElement('canvas');
  const ctx = canvas.getContext('2d');
  if (ctx === null) throw new Error('no 2d context');
  const legendFont = `12px ${theme.font}`;
  ctx.font = legendFont;
  const sheet = layOut(pictures, ratio, (text) => ctx.measureText(text).width);
  const top = MARGIN + 32;
  const width = sheet.width + 2 * MARGIN;
  const height = top + sheet.height + MARGIN;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  ctx.scale(ratio, ratio);
  ctx.fillStyle = theme.background;
  ctx.fillRect(0, 0, width, height);
  ctx.fillStyle = theme.foreground;
  ctx.font = `600 16px ${theme.font}`;
  ctx.fillText(title, MARGIN, MARGIN + 14, width - 2 * MARGIN);
  for (const { picture, legend, x, y, height: used } of sheet.placed) {
    const left = MARGIN + x;
    const above = top + y;
    ctx.fillStyle = theme.foreground;
    ctx.font = `600 13px ${theme.font}`;
    ctx.fillText(picture.title, left, above + 14);
    ctx.font = legendFont;
    for (const { entry, x: dx, y: dy } of legend) {
      ctx.fillStyle = entry.color;
      ctx.fillRect(left + dx, above + dy + 5, 18, 3);
      ctx.fillStyle = theme.foreground;
      ctx.fillText(legendText(entry), left + dx + 24, above + dy + 10);
    }
    const source = picture.canvas;
    const drawn = source.height / ratio;
    ctx.drawImage(source, left, above + used - drawn, source.width / ratio, drawn);
  }
  const blob = await new Promise<Blob | null>((resolve) => {
    canvas.toBlob(resolve, 'image/png');
  });
  if (blob === null) throw new Error('the image could not be encoded');
  return new Uint8Array(await blob.arrayBuffer());
}
