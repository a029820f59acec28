/** The eigen-solver's inner loops as WebAssembly; `kernels.ts` says what each one computes. */
import { FunctionBuilder, assemble, f64, f64x2, i32, whileLoop } from '../../simd/assembler';
import type { Code, Local } from '../../simd/assembler';

const DOUBLE = 8;
const PAIR = 16;
/** Bytes of a panel's row: eight doubles, four vectors. */
const ROW = 64;
const VECTORS = [0, 1, 2, 3] as const;

const advance = (local: Local, bytes: Code | number): Code =>
  local.set(i32.add(local.get, typeof bytes === 'number' ? i32.const(bytes) : bytes));

/** All addresses in bytes; `end` is where `v` stops. */
function symmetricTimesVector(): FunctionBuilder {
  const f = new FunctionBuilder('symmetricTimesVector');
  const diagonal = f.param('i32');
  const stride = f.param('i32');
  const v = f.param('i32');
  const p = f.param('i32');
  const end = f.param('i32');
  const at0 = f.local('i32');
  const at1 = f.local('i32');
  const atV = f.local('i32');
  const atP = f.local('i32');
  const x0 = f.local('v128');
  const x1 = f.local('v128');
  const s0 = f.local('v128');
  const s1 = f.local('v128');
  const a0 = f.local('v128');
  const a1 = f.local('v128');
  const x = f.local('v128');
  const scalar = (l: Local): Code => f64x2.lane(l.get, 0);
  const cross = f64.load(diagonal.get, DOUBLE);
  /** p[offset] += own * mine + cross * other + both lanes of s */
  const finish = (offset: number, own: Code, mine: Local, other: Local, s: Local): Code => {
    const head = f64.add(f64.mul(own, scalar(mine)), f64.mul(cross, scalar(other)));
    const lanes = f64.add(f64x2.lane(s.get, 0), f64x2.lane(s.get, 1));
    return f64.store(p.get, f64.add(f64.load(p.get, offset), f64.add(head, lanes)), offset);
  };
  return f.code(
    whileLoop(
      i32.less(v.get, end.get),
      at0.set(i32.add(diagonal.get, i32.const(PAIR))),
      at1.set(i32.add(at0.get, stride.get)),
      atV.set(i32.add(v.get, i32.const(PAIR))),
      atP.set(i32.add(p.get, i32.const(PAIR))),
      x0.set(f64x2.loadSplat(v.get)),
      x1.set(f64x2.loadSplat(v.get, DOUBLE)),
      s0.set(f64x2.splat(f64.zero)),
      s1.set(f64x2.splat(f64.zero)),
      whileLoop(
        i32.less(atV.get, end.get),
        a0.set(f64x2.load(at0.get)),
        a1.set(f64x2.load(at1.get)),
        x.set(f64x2.load(atV.get)),
        s0.set(f64x2.add(s0.get, f64x2.mul(a0.get, x.get))),
        s1.set(f64x2.add(s1.get, f64x2.mul(a1.get, x.get))),
        f64x2.store(
          atP.get,
          f64x2.add(
            f64x2.add(f64x2.load(atP.get), f64x2.mul(a0.get, x0.get)),
            f64x2.mul(a1.get, x1.get),
          ),
        ),
        advance(at0, PAIR),
        advance(at1, PAIR),
        advance(atV, PAIR),
        advance(atP, PAIR),
      ),
      finish(0, f64.load(diagonal.get), x0, x1, s0),
      finish(DOUBLE, f64.load(i32.add(diagonal.get, stride.get), DOUBLE), x1, x0, s1),
      advance(diagonal, i32.add(i32.add(stride.get, stride.get), i32.const(PAIR))),
      advance(v, PAIR),
      advance(p, PAIR),
    ),
  );
}

function rankTwoUpdate(): FunctionBuilder {
  const f = new FunctionBuilder('rankTwoUpdate');
  const diagonal = f.param('i32');
  const stride = f.param('i32');
  const v = f.param('i32');
  const w = f.param('i32');
  const end = f.param('i32');
  const at0 = f.local('i32');
  const at1 = f.local('i32');
  const atV = f.local('i32');
  const atW = f.local('i32');
  const v0 = f.local('v128');
  const v1 = f.local('v128');
  const w0 = f.local('v128');
  const w1 = f.local('v128');
  const vj = f.local('v128');
  const wj = f.local('v128');
  const update = (at: Local, a: Local, b: Local): Code =>
    f64x2.store(
      at.get,
      f64x2.sub(f64x2.sub(f64x2.load(at.get), f64x2.mul(a.get, wj.get)), f64x2.mul(b.get, vj.get)),
    );
  const twice = f64.add(f64.load(v.get), f64.load(v.get));
  return f.code(
    whileLoop(
      i32.less(v.get, end.get),
      v0.set(f64x2.loadSplat(v.get)),
      v1.set(f64x2.loadSplat(v.get, DOUBLE)),
      w0.set(f64x2.loadSplat(w.get)),
      w1.set(f64x2.loadSplat(w.get, DOUBLE)),
      f64.store(diagonal.get, f64.sub(f64.load(diagonal.get), f64.mul(twice, f64.load(w.get)))),
      at0.set(i32.add(diagonal.get, i32.const(DOUBLE))),
      at1.set(i32.add(at0.get, stride.get)),
      atV.set(i32.add(v.get, i32.const(DOUBLE))),
      atW.set(i32.add(w.get, i32.const(DOUBLE))),
      whileLoop(
        i32.less(atV.get, end.get),
        vj.set(f64x2.load(atV.get)),
        wj.set(f64x2.load(atW.get)),
        update(at0, v0, w0),
        update(at1, v1, w1),
        advance(at0, PAIR),
        advance(at1, PAIR),
        advance(atV, PAIR),
        advance(atW, PAIR),
      ),
      advance(diagonal, i32.add(i32.add(stride.get, stride.get), i32.const(PAIR))),
      advance(v, PAIR),
      advance(w, PAIR),
    ),
  );
}

function reflectPanel(): FunctionBuilder {
  const f = new FunctionBuilder('reflectPanel');
  const v = f.param('i32');
  const panel = f.param('i32');
  const end = f.param('i32');
  const tau = f.param('f64');
  const atV = f.local('i32');
  const row = f.local('i32');
  const x = f.local('v128');
  const u = VECTORS.map(() => f.local('v128'));
  const each = (statement: (u: Local, offset: number) => Code): Code =>
    u.flatMap((l, k) => statement(l, k * PAIR));
  const loop = (statement: (u: Local, offset: number) => Code): Code => [
    ...atV.set(v.get),
    ...row.set(panel.get),
    ...whileLoop(
      i32.less(atV.get, end.get),
      x.set(f64x2.loadSplat(atV.get)),
      each(statement),
      advance(atV, DOUBLE),
      advance(row, ROW),
    ),
  ];
  return f.code(
    each((l) => l.set(f64x2.splat(f64.zero))),
    loop((l, at) => l.set(f64x2.add(l.get, f64x2.mul(x.get, f64x2.load(row.get, at))))),
    each((l) => l.set(f64x2.mul(l.get, f64x2.splat(tau.get)))),
    loop((l, at) =>
      f64x2.store(row.get, f64x2.sub(f64x2.load(row.get, at), f64x2.mul(x.get, l.get)), at),
    ),
  );
}

function rotatePanel(): FunctionBuilder {
  const f = new FunctionBuilder('rotatePanel');
  const cos = f.param('i32');
  const sin = f.param('i32');
  const end = f.param('i32');
  const row = f.param('i32');
  const next = f.local('i32');
  const c = f.local('v128');
  const s = f.local('v128');
  const x = f.local('v128');
  const carried = VECTORS.map(() => f.local('v128'));
  const each = (statement: (h: Local, offset: number) => Code): Code =>
    carried.flatMap((h, k) => statement(h, k * PAIR));
  return f.code(
    each((h, at) => h.set(f64x2.load(row.get, at))),
    whileLoop(
      i32.less(cos.get, end.get),
      c.set(f64x2.loadSplat(cos.get)),
      s.set(f64x2.loadSplat(sin.get)),
      next.set(i32.sub(row.get, i32.const(ROW))),
      each((h, at) => [
        ...x.set(f64x2.load(next.get, at)),
        ...f64x2.store(row.get, f64x2.add(f64x2.mul(s.get, x.get), f64x2.mul(c.get, h.get)), at),
        ...h.set(f64x2.sub(f64x2.mul(c.get, x.get), f64x2.mul(s.get, h.get))),
      ]),
      row.set(next.get),
      advance(cos, DOUBLE),
      advance(sin, DOUBLE),
    ),
    each((h, at) => f64x2.store(row.get, h.get, at)),
  );
}

/** The module's bytes; it imports `env.memory`. */
export function eigenModule(): Uint8Array {
  return assemble([symmetricTimesVector(), rankTwoUpdate(), reflectPanel(), rotatePanel()]);
}
