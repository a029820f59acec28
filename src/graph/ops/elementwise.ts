/** Elementwise operations with NumPy broadcasting, and the reduction that undoes a broadcast. */
import { broadcastShapes } from '../shape';
import type { DType } from '../dtype';
import { elementType } from '../onnx';
import type { Tensor } from '../graph';
import { unbroadcast } from './broadcast';

function binary(
  op: string,
  a: Tensor,
  b: Tensor,
  vjp: (dy: Tensor, y: Tensor) => readonly [Tensor, Tensor],
): Tensor {
  if (a.dtype !== b.dtype) throw new Error(`${op}: ${a.dtype} with ${b.dtype}`);
  const y: Tensor = a.graph.node(op, [a, b], broadcastShapes(a.shape, b.shape), {
    origin: {
      inputs: [a, b],
      vjp: (dy) => {
        const [da, db] = vjp(dy, y);
        return [unbroadcast(da, a.shape), unbroadcast(db, b.shape)];
      },
    },
  });
  return y;
}

export function add(a: Tensor, b: Tensor): Tensor {
  return binary('Add', a, b, (dy) => [dy, dy]);
}

export function sub(a: Tensor, b: Tensor): Tensor {
  return binary('Sub', a, b, (dy) => [dy, neg(dy)]);
}

export function mul(a: Tensor, b: Tensor): Tensor {
  return binary('Mul', a, b, (dy) => [mul(dy, b), mul(dy, a)]);
}

export function div(a: Tensor, b: Tensor): Tensor {
  return binary('Div', a, b, (dy, y) => [div(dy, b), neg(div(mul(dy, y), b))]);
}

function unary(op: string, x: Tensor, derivative: (dy: Tensor, y: Tensor) => Tensor): Tensor {
  const y: Tensor = x.graph.node(op, [x], x.shape, {
    origin: { inputs: [x], vjp: (dy) => [derivative(dy, y)] },
  });
  return y;
}

export function neg(x: Tensor): Tensor {
  return unary('Neg', x, neg);
}

export function exp(x: Tensor): Tensor {
  return unary('Exp', x, mul);
}

export function log(x: Tensor): Tensor {
  return unary('Log', x, (dy) => div(dy, x));
}

export function sqrt(x: Tensor): Tensor {
  return unary('Sqrt', x, (dy, y) => scale(div(dy, y), 0.5));
}

export function reciprocal(x: Tensor): Tensor {
  return unary('Reciprocal', x, (dy, y) => neg(mul(dy, mul(y, y))));
}

export function sigmoid(x: Tensor): Tensor {
  return unary('Sigmoid', x, (dy, y) => mul(dy, sub(mul(y, one(y)), mul(y, y))));
}

/** x * sigmoid(x), also called swish; in float32 by the runtime's own operator. */
export function silu(x: Tensor): Tensor {
  const value =
    x.dtype === 'float32'
      ? x.graph.node('QuickGelu', [x], x.shape, { attributes: [{ name: 'alpha', float: 1 }] })
      : mul(x, sigmoid(x));
  return x.graph.withOrigin(value, {
    inputs: [x],
    // d/dx = s * (1 + x * (1 - s)) with s = sigmoid(x)
    vjp: (dy) => {
      const s = sigmoid(x);
      return [mul(dy, mul(s, addScalar(mul(x, sub(one(s), s)), 1)))];
    },
  });
}

function one(like: Tensor): Tensor {
  return like.graph.floats(like.dtype, [1]);
}

/** Multiplies by a number. */
export function scale(x: Tensor, factor: number): Tensor {
  return mul(x, x.graph.floats(x.dtype, [factor]));
}

export function addScalar(x: Tensor, summand: number): Tensor {
  return add(x, x.graph.floats(x.dtype, [summand]));
}

/** Converts between element types; not differentiable. */
export function cast(x: Tensor, dtype: DType): Tensor {
  return x.graph.node('Cast', [x], x.shape, {
    dtype,
    attributes: [{ name: 'to', int: elementType[dtype] }],
  });
}

/** Elementwise comparison with broadcasting; the result is boolean and has no gradient. */
export function compare(op: 'Equal' | 'Less' | 'LessOrEqual', a: Tensor, b: Tensor): Tensor {
  return a.graph.node(op, [a, b], broadcastShapes(a.shape, b.shape), { dtype: 'bool' });
}

export function logicalAnd(a: Tensor, b: Tensor): Tensor {
  return a.graph.node('And', [a, b], broadcastShapes(a.shape, b.shape), { dtype: 'bool' });
}

/** One of two numbers, by a condition; not differentiable. */
export function choose(condition: Tensor, whereTrue: number, whereFalse: number): Tensor {
  const { graph } = condition;
  const numbers = [whereTrue, whereFalse].map((value) => graph.floats('float32', [value]));
  return graph.node('Where', [condition, ...numbers], condition.shape, { dtype: 'float32' });
}
