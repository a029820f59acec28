import type { Theme } from '../shared/theme';

export interface Picture {
  title: string;
  legend: readonly { label: string; color: string; value: string }[];
  canvas: HTMLCanvasElement;
}

const MARGIN = 24;
const HEAD = 48;

/** Puts the charts, as drawn, under one another with titles and legends, and encodes a PNG. */
export async function chartsToPng(
  title: string,
  pictures: readonly Picture[],
  theme: Theme,
): Promise<Uint8Array> {
  const ratio = window.devicePixelRatio;
  const width = Math.max(...pictures.map((p) => p.canvas.width / ratio)) + 2 * MARGIN;
  const height =
    MARGIN * 2 + 28 + pictures.reduce((sum, p) => sum + HEAD + p.canvas.height / ratio + 12, 0);
  const canvas = document.createElement('canvas');
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const ctx = canvas.getContext('2d');
  if (ctx === null) throw new Error('no 2d context');
  ctx.scale(ratio, ratio);
  ctx.fillStyle = theme.background;
  ctx.fillRect(0, 0, width, height);
  ctx.textBaseline = 'alphabetic';
  ctx.fillStyle = theme.foreground;
  ctx.font = `600 16px ${theme.font}`;
  let y = MARGIN + 16;
  ctx.fillText(title, MARGIN, y, width - 2 * MARGIN);
  y += 12;
  for (const picture of pictures) {
    ctx.fillStyle = theme.foreground;
    ctx.font = `600 13px ${theme.font}`;
    ctx.fillText(picture.title, MARGIN, y + 18);
    ctx.font = `12px ${theme.font}`;
    let x = MARGIN;
    for (const { label, color, value } of picture.legend) {
      const text = `${label}  ${value}`;
      const needed = 30 + ctx.measureText(text).width;
      if (x + needed > width - MARGIN) break;
      ctx.fillStyle = color;
      ctx.fillRect(x, y + 31, 18, 3);
      ctx.fillStyle = theme.foreground;
      ctx.fillText(text, x + 24, y + 37);
      x += needed + 14;
    }
    const { canvas: source } = picture;
    ctx.drawImage(source, MARGIN, y + HEAD, source.width / ratio, source.height / ratio);
    y += HEAD + source.height / ratio + 12;
  }
  const blob = await new Promise<Blob | null>((resolve) => {
    canvas.toBlob(resolve, 'image/png');
  });
  if (blob === null) throw new Error('the image could not be encoded');
  return new Uint8Array(await blob.arrayBuffer());
}
