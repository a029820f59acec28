// Draws media/icon.png (256 x 256): a matrix product operator of three cores, its bonds and legs, on
// a dark tile. Pure arithmetic on signed distances, so the icon needs no image tool to make.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32, deflateSync } from 'node:zlib';

const size = 256;
const pixels = new Uint8Array(size * size * 4);

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const circle = (x, y, cx, cy, r) => Math.hypot(x - cx, y - cy) - r;
const segment = (x, y, ax, ay, bx, by, r) => {
  const t = clamp(
    ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2),
    0,
    1,
  );
  return Math.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)) - r;
};
const roundedSquare = (x, y, half, r) => {
  const dx = Math.abs(x - size / 2) - half + r;
  const dy = Math.abs(y - size / 2) - half + r;
  return Math.hypot(Math.max(dx, 0), Math.max(dy, 0)) + Math.min(Math.max(dx, dy), 0) - r;
};

const cores = [64, 128, 192];
const layers = [
  { colour: [22, 43, 72], distance: (x, y) => roundedSquare(x, y, 122, 44) },
  // Legs: the row and column indices of each core.
  ...cores.map((cx) => ({
    colour: [126, 200, 227],
    distance: (x, y) => segment(x, y, cx, 66, cx, 190, 5),
  })),
  // Bonds, the second one wider: bond dimensions differ along the chain.
  { colour: [255, 183, 77], distance: (x, y) => segment(x, y, 64, 128, 128, 128, 6) },
  { colour: [255, 183, 77], distance: (x, y) => segment(x, y, 128, 128, 192, 128, 11) },
  ...cores.map((cx) => ({
    colour: [240, 246, 252],
    distance: (x, y) => circle(x, y, cx, 128, 22),
  })),
];

for (let y = 0; y < size; y++) {
  for (let x = 0; x < size; x++) {
    let [r, g, b, a] = [0, 0, 0, 0];
    for (const { colour, distance } of layers) {
      const cover = clamp(0.5 - distance(x + 0.5, y + 0.5), 0, 1);
      const alpha = cover + a * (1 - cover);
      if (alpha > 0) {
        [r, g, b] = [r, g, b].map((old, i) => (colour[i] * cover + old * a * (1 - cover)) / alpha);
      }
      a = alpha;
    }
    pixels.set(
      [Math.round(r), Math.round(g), Math.round(b), Math.round(a * 255)],
      (y * size + x) * 4,
    );
  }
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE(crc32(body), body.length + 4);
  return out;
}

const header = Buffer.alloc(13);
header.writeUInt32BE(size, 0);
header.writeUInt32BE(size, 4);
header.set([8, 6, 0, 0, 0], 8);
const rows = Buffer.alloc(size * (size * 4 + 1));
for (let y = 0; y < size; y++) {
  rows.set(pixels.subarray(y * size * 4, (y + 1) * size * 4), y * (size * 4 + 1) + 1);
}
const png = Buffer.concat([
  Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
  chunk('IHDR', header),
  chunk('IDAT', deflateSync(rows, { level: 9 })),
  chunk('IEND', Buffer.alloc(0)),
]);
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
writeFileSync(path.join(root, 'media/icon.png'), png);
