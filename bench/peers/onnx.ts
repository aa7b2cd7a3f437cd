/**
 * A writer of ONNX models: just enough of the protobuf format (onnx.proto3, IR version 8) for graphs of float32 nodes with
 * fixed shapes. Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3.
 */

/** A protobuf message under construction. */
class Message {
  private readonly bytes: number[] = []

  private varint(value: number): void {
    let rest = BigInt.asUintN(64, BigInt(value))
    while (rest > 127n) {
      this.bytes.push(Number(rest & 127n) | 128)
      rest >>= 7n
    }
    this.bytes.push(Number(rest))
  }

  integer(field: number, value: number): this {
    this.varint(field << 3)
    this.varint(value)
    return this
  }

  float(field: number, value: number): this {
    this.varint((field << 3) | 5)
    this.bytes.push(...new Uint8Array(Float32Array.of(value).buffer))
    return this
  }

  data(field: number, value: Uint8Array): this {
    this.varint((field << 3) | 2)
    this.varint(value.length)
    for (const byte of value) this.bytes.push(byte)
    return this
  }

  text(field: number, value: string): this {
    return this.data(field, new TextEncoder().encode(value))
  }

  message(field: number, value: Message): this {
    return this.data(field, value.encode())
  }

  encode(): Uint8Array {
    return Uint8Array.from(this.bytes)
  }
}

const FLOAT = 1
const INT64 = 7

export type Attributes = Readonly<Record<string, number | string | readonly number[] | { readonly float: number }>>

function attribute(name: string, value: Attributes[string]): Message {
  const message = new Message().text(1, name)
  if (typeof value === 'number') return message.integer(3, value).integer(20, 2)
  if (typeof value === 'string') return message.text(4, value).integer(20, 3)
  if ('float' in value) return message.float(2, value.float).integer(20, 1)
  for (const item of value) message.integer(8, item)
  return message.integer(20, 7)
}

function valueInfo(name: string, shape: readonly number[]): Message {
  const dims = new Message()
  for (const size of shape) dims.message(1, new Message().integer(1, size))
  const tensor = new Message().integer(1, FLOAT).message(2, dims)
  return new Message().text(1, name).message(2, new Message().message(1, tensor))
}

/** Builds a graph node by node; values are named by strings. */
export class OnnxGraph {
  private readonly graph = new Message().text(2, 'row')
  private count = 0
  readonly outputs: string[] = []

  input(name: string, shape: readonly number[]): string {
    this.graph.message(11, valueInfo(name, shape))
    return name
  }

  output(value: string, shape: readonly number[]): void {
    this.graph.message(12, valueInfo(value, shape))
    this.outputs.push(value)
  }

  /** A float32 constant of the model. */
  weight(name: string, data: Float32Array, shape: readonly number[]): string {
    return this.constant(name, FLOAT, shape, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  }

  /** A float32 scalar. */
  scalar(value: number): string {
    return this.constant(`scalar${++this.count}`, FLOAT, [], new Uint8Array(Float32Array.of(value).buffer))
  }

  private constant(name: string, type: number, shape: readonly number[], raw: Uint8Array): string {
    const tensor = new Message()
    for (const size of shape) tensor.integer(1, size)
    this.graph.message(5, tensor.integer(2, type).text(8, name).data(9, raw))
    return name
  }

  /** Adds a node of one output and returns it; `domain` is '' or 'com.microsoft'. An input '' is left out. */
  node(
    op: string,
    inputs: readonly string[],
    attributes: Attributes = {},
    name = `v${++this.count}`,
    domain = '',
  ): string {
    this.nodeOf(op, inputs, [name], attributes, domain)
    return name
  }

  private nodeOf(
    op: string,
    inputs: readonly string[],
    outputs: readonly string[],
    attributes: Attributes,
    domain = '',
  ): void {
    const message = new Message()
    for (const input of inputs) message.text(1, input)
    for (const output of outputs) message.text(2, output)
    message.text(3, `${op}.${outputs[0]}`).text(4, op)
    for (const [key, value] of Object.entries(attributes)) message.message(5, attribute(key, value))
    this.graph.message(1, domain ? message.text(7, domain) : message)
  }

  /** Equal parts along an axis. */
  split(value: string, parts: number, axis: number): string[] {
    const outputs = Array.from({ length: parts }, () => `v${++this.count}`)
    this.nodeOf('Split', [value], outputs, { axis, num_outputs: parts })
    return outputs
  }

  reshape(value: string, shape: readonly number[]): string {
    const raw = new Uint8Array(BigInt64Array.from(shape.map(BigInt)).buffer)
    return this.node('Reshape', [value, this.constant(`shape${++this.count}`, INT64, [shape.length], raw)])
  }

  /** The model's bytes: opset 20, and version 1 of com.microsoft. */
  encode(): Uint8Array {
    const opset = (domain: string, version: number) => new Message().text(1, domain).integer(2, version)
    return new Message()
      .integer(1, 8)
      .text(2, 'diptych-bench')
      .message(7, this.graph)
      .message(8, opset('', 20))
      .message(8, opset('com.microsoft', 1))
      .encode()
  }
}
