/**
 * A pre-norm ViT block and its training step in float64, plain loops: the check of the benchmark's block.
 *
 *   y = x + proj(attention(qkv(LN1(x)))),  z = y + fc2(GELU(fc1(LN2(y)))),  loss = mean((z − target)²)
 *
 * x, target, z [batch, tokens, width]; weights as [out, in]; qkv has q, k, v one after the other, each [heads, d].
 */
import { adamwReference } from '../../kernels/optimizer/adamw.ts'
import { product, transposed } from '../data.ts'

export interface BlockShape {
  readonly batch: number
  readonly tokens: number
  readonly width: number
  readonly heads: number
  /** Width of the MLP's hidden layer over `width`. */
  readonly ratio: number
}

export const epsilon = 1e-6

export const adamw = { lr: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 } as const

/** Shapes of the parameters by name, in the order of a module's fields. */
export function parameterShapes({ width, ratio }: BlockShape): Record<string, readonly number[]> {
  return {
    'norm1.weight': [width],
    'norm1.bias': [width],
    'attn.qkv.weight': [3 * width, width],
    'attn.qkv.bias': [3 * width],
    'attn.proj.weight': [width, width],
    'attn.proj.bias': [width],
    'norm2.weight': [width],
    'norm2.bias': [width],
    'mlp.fc1.weight': [ratio * width, width],
    'mlp.fc1.bias': [ratio * width],
    'mlp.fc2.weight': [width, ratio * width],
    'mlp.fc2.bias': [width],
  }
}

type Vector = Float64Array
export type Parameters = Record<string, Vector>

/** erf to about 1e-15: its power series, and from 3 on the continued fraction of erfc. */
export function erf(x: number): number {
  const a = Math.abs(x)
  if (a < 3) {
    let term = a
    let sum = a
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum) && n < 200; n++) {
      term *= (-a * a) / n
      sum += term / (2 * n + 1)
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI)
  }
  let fraction = 0
  for (let n = 60; n >= 1; n--) fraction = n / 2 / (a + fraction)
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)))
}

interface Linear {
  readonly y: Vector
  backward(dy: Vector, grads: Parameters, name: string): Vector
}

/** y [rows, out] = x Wᵀ + b */
function linear(x: Vector, weight: Vector, bias: Vector, rows: number, inputs: number, outputs: number): Linear {
  const y = product(x, transposed(weight, outputs, inputs), rows, outputs, inputs)
  for (let i = 0; i < y.length; i++) y[i]! += bias[i % outputs]!
  return {
    y,
    backward(dy, grads, name) {
      const db = new Float64Array(outputs)
      for (let i = 0; i < dy.length; i++) db[i % outputs]! += dy[i]!
      grads[`${name}.bias`] = db
      grads[`${name}.weight`] = product(transposed(dy, rows, outputs), x, outputs, inputs, rows)
      return product(dy, weight, rows, inputs, outputs)
    },
  }
}

function layerNorm(x: Vector, gamma: Vector, beta: Vector, rows: number, width: number): Linear {
  const y = new Float64Array(x.length)
  const normal = new Float64Array(x.length)
  const rstd = new Float64Array(rows)
  for (let r = 0; r < rows; r++) {
    const row = x.subarray(r * width, (r + 1) * width)
    const mean = row.reduce((a, b) => a + b, 0) / width
    rstd[r] = 1 / Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / width + epsilon)
    for (let i = 0; i < width; i++) {
      normal[r * width + i] = (row[i]! - mean) * rstd[r]!
      y[r * width + i] = normal[r * width + i]! * gamma[i]! + beta[i]!
    }
  }
  return {
    y,
    backward(dy, grads, name) {
      const dx = new Float64Array(x.length)
      const dgamma = new Float64Array(width)
      const dbeta = new Float64Array(width)
      for (let r = 0; r < rows; r++) {
        let [sum, along] = [0, 0]
        for (let i = 0; i < width; i++) {
          const at = r * width + i
          dgamma[i]! += dy[at]! * normal[at]!
          dbeta[i]! += dy[at]!
          sum += dy[at]! * gamma[i]!
          along += dy[at]! * gamma[i]! * normal[at]!
        }
        for (let i = 0; i < width; i++) {
          const at = r * width + i
          dx[at] = (dy[at]! * gamma[i]! - sum / width - (normal[at]! * along) / width) * rstd[r]!
        }
      }
      grads[`${name}.weight`] = dgamma
      grads[`${name}.bias`] = dbeta
      return dx
    },
  }
}

function gelu(x: Vector): { y: Vector; backward(dy: Vector): Vector } {
  const cdf = x.map((v) => (1 + erf(v * Math.SQRT1_2)) / 2)
  return {
    y: x.map((v, i) => v * cdf[i]!),
    backward: (dy) =>
      dy.map((g, i) => g * (cdf[i]! + (x[i]! * Math.exp((-x[i]! * x[i]!) / 2)) / Math.sqrt(2 * Math.PI))),
  }
}

/** One head's [tokens, d] out of packed rows, or back into them. */
function gather(packed: Vector, b: number, offset: number, stride: number, tokens: number, d: number): Vector {
  const part = new Float64Array(tokens * d)
  for (let t = 0; t < tokens; t++) {
    const from = (b * tokens + t) * stride + offset
    part.set(packed.subarray(from, from + d), t * d)
  }
  return part
}

function scatter(part: Vector, packed: Vector, b: number, offset: number, stride: number, tokens: number, d: number) {
  for (let t = 0; t < tokens; t++) packed.set(part.subarray(t * d, (t + 1) * d), (b * tokens + t) * stride + offset)
}

/** Multi-head self-attention of packed qkv [batch·tokens, 3·width] → [batch·tokens, width]. */
function attention(qkv: Vector, { batch, tokens, width, heads }: BlockShape) {
  const d = width / heads
  const scale = 1 / Math.sqrt(d)
  const y = new Float64Array(batch * tokens * width)
  const kept: { q: Vector; k: Vector; v: Vector; p: Vector }[] = []
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < heads; h++) {
      const [q, k, v] = [0, 1, 2].map((i) => gather(qkv, b, i * width + h * d, 3 * width, tokens, d)) as [
        Vector,
        Vector,
        Vector,
      ]
      const p = product(q, transposed(k, tokens, d), tokens, tokens, d)
      for (let i = 0; i < tokens; i++) {
        const row = p.subarray(i * tokens, (i + 1) * tokens)
        const high = row.reduce((a, s) => Math.max(a, s), -Infinity)
        let sum = 0
        for (let j = 0; j < tokens; j++) sum += row[j] = Math.exp((row[j]! - high) * scale)
        for (let j = 0; j < tokens; j++) row[j]! /= sum
      }
      scatter(product(p, v, tokens, d, tokens), y, b, h * d, width, tokens, d)
      kept.push({ q, k, v, p })
    }
  const backward = (dy: Vector): Vector => {
    const dqkv = new Float64Array(qkv.length)
    for (let b = 0; b < batch; b++)
      for (let h = 0; h < heads; h++) {
        const { q, k, v, p } = kept[b * heads + h]!
        const dout = gather(dy, b, h * d, width, tokens, d)
        const ds = product(dout, transposed(v, tokens, d), tokens, tokens, d)
        for (let i = 0; i < tokens; i++) {
          let along = 0
          for (let j = i * tokens; j < (i + 1) * tokens; j++) along += ds[j]! * p[j]!
          for (let j = i * tokens; j < (i + 1) * tokens; j++) ds[j] = p[j]! * (ds[j]! - along) * scale
        }
        const parts = [
          product(ds, k, tokens, d, tokens),
          product(transposed(ds, tokens, tokens), q, tokens, d, tokens),
          product(transposed(p, tokens, tokens), dout, tokens, d, tokens),
        ]
        parts.forEach((part, i) => scatter(part, dqkv, b, i * width + h * d, 3 * width, tokens, d))
      }
    return dqkv
  }
  return { y, backward }
}

const sum = (a: Vector, b: Vector): Vector => a.map((v, i) => v + b[i]!)

/** The block's output, and its gradient's way back to the parameters. */
export function blockReference(p: Parameters, x: Vector, shape: BlockShape) {
  const { batch, tokens, width, ratio } = shape
  const rows = batch * tokens
  const apply = (v: Vector, name: string, inputs: number, outputs: number) =>
    linear(v, p[`${name}.weight`]!, p[`${name}.bias`]!, rows, inputs, outputs)
  const norm = (v: Vector, name: string) => layerNorm(v, p[`${name}.weight`]!, p[`${name}.bias`]!, rows, width)
  const norm1 = norm(x, 'norm1')
  const qkv = apply(norm1.y, 'attn.qkv', width, 3 * width)
  const attended = attention(qkv.y, shape)
  const proj = apply(attended.y, 'attn.proj', width, width)
  const y = sum(x, proj.y)
  const norm2 = norm(y, 'norm2')
  const fc1 = apply(norm2.y, 'mlp.fc1', width, ratio * width)
  const act = gelu(fc1.y)
  const fc2 = apply(act.y, 'mlp.fc2', ratio * width, width)
  const backward = (dz: Vector): Parameters => {
    const grads: Parameters = {}
    const dHidden = act.backward(fc2.backward(dz, grads, 'mlp.fc2'))
    const dy = sum(dz, norm2.backward(fc1.backward(dHidden, grads, 'mlp.fc1'), grads, 'norm2'))
    const dqkv = attended.backward(proj.backward(dy, grads, 'attn.proj'))
    norm1.backward(qkv.backward(dqkv, grads, 'attn.qkv'), grads, 'norm1')
    return grads
  }
  return { z: sum(y, fc2.y), backward }
}

/** Loss before each of `steps` steps of AdamW, and the parameters after them. Decay is for matrices. */
export function trainingReference(start: Parameters, x: Vector, target: Vector, shape: BlockShape, steps: number) {
  const p: Parameters = { ...start }
  const zero = (v: Vector) => new Float64Array(v.length)
  const state = Object.fromEntries(Object.entries(p).map(([name, v]) => [name, { m: zero(v), v: zero(v) }]))
  const losses = new Float64Array(steps)
  for (let step = 1; step <= steps; step++) {
    const { z, backward } = blockReference(p, x, shape)
    losses[step - 1] = z.reduce((a, v, i) => a + (v - target[i]!) ** 2, 0) / z.length
    const grads = backward(z.map((v, i) => (2 * (v - target[i]!)) / z.length))
    for (const [name, value] of Object.entries(p)) {
      const decay = new Float64Array(value.length).fill(name.endsWith('weight') && !name.startsWith('norm') ? 1 : 0)
      const after = adamwReference(value, state[name]!.m, state[name]!.v, grads[name]!, decay, {
        ...adamw,
        step,
        clip: 1,
      })
      p[name] = after.p
      state[name] = { m: after.m, v: after.v }
    }
  }
  return { losses, parameters: p }
}
