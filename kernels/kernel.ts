/**
 * The contract between a kernel and whoever launches it.
 *
 * A kernel file turns a problem (sizes, layouts, options) and what a device can do into a `Program`: complete WGSL, the
 * order of its bindings, its uniform words, its grid and its cost. It knows no tensor and makes no GPU object.
 *
 * Headers argue how a kernel fares on a discrete GPU of the RTX 3090 class, by its data sheet: 82 multiprocessors at 1.7 GHz, 35.6 TFLOP/s
 * and 936 GB/s, so that below 38 flops a byte memory is the bound. A multiprocessor has four schedulers, each an instruction of
 * one subgroup of 32 a clock: 128 multiply-adds, or 128 B of workgroup memory or L1, where a load of a subgroup takes a pass for every
 * 128 B that are not the same. It holds 65,536 registers, 100 kB of workgroup memory, 1536 threads and 16 workgroups. Memory
 * answers after half a microsecond: full bandwidth wants 470 kB of loads in flight, 5.7 kB a multiprocessor. Arithmetic
 * answers after 4 clocks, workgroup memory after 30. The figures of each program are printed by the benchmark.
 */

/** C[m, n] += A[m, k] · B[k, n], the sizes that the adapter's instruction takes. */
export interface SubgroupMatrix {
  readonly m: number
  readonly n: number
  readonly k: number
}

/** What a kernel may count on. The engine fills it from the adapter; tests may fill it by hand. */
export interface Capabilities {
  /** `shader-f16` is enabled on the device. */
  readonly f16: boolean
  /** `subgroups` is enabled; sizes are those the adapter reports (0 when unknown). */
  readonly subgroups: boolean
  readonly subgroupMinSize: number
  readonly subgroupMaxSize: number
  /**
   * Matrices that a subgroup multiplies as one: f16 in, f32 sums. Only where a program asked for them and the adapter computed a product
   * with them that was right.
   */
  readonly subgroupMatrix?: SubgroupMatrix
  /** The adapter runs on the CPU (lavapipe, SwiftShader): no workgroup tiling, vec4 register tiles. */
  readonly software: boolean
  /** Bytes of workgroup memory a workgroup may use. */
  readonly maxWorkgroupBytes: number
  /** Invocations a workgroup may have, and along x. */
  readonly maxInvocations: number
  /** Storage buffers a stage may bind. */
  readonly maxStorageBuffers: number
  /** Workgroups along one dimension of a grid (65,535 on most adapters). */
  readonly maxGrid: number
}

/** WebGPU's guaranteed limits, with no optional feature: what every kernel must at least run on. */
export const baselineCapabilities: Capabilities = {
  f16: false,
  subgroups: false,
  subgroupMinSize: 0,
  subgroupMaxSize: 0,
  software: false,
  maxWorkgroupBytes: 16384,
  maxInvocations: 256,
  maxStorageBuffers: 8,
  maxGrid: 65535,
}

/** Workgroups that a discrete GPU needs before all its multiprocessors (some 30 to 130) are busy. */
export const busyWorkgroups = 96

/** Whether a workgroup of one whole subgroup can be asked for: subgroups, of one size that a workgroup may have. */
export function oneSubgroupSize(caps: Capabilities): boolean {
  const size = caps.subgroupMinSize
  return caps.subgroups && size === caps.subgroupMaxSize && size >= 4 && size <= Math.min(64, caps.maxInvocations)
}

/** A storage binding of a program; its place in `Program.bindings` is its `@binding` index in group 0. */
export interface Binding {
  /** Name of the WGSL variable. */
  readonly name: string
  /** WGSL type of one array element: `f32`, `vec4f`, `i32`, `u32`, `f16`. */
  readonly type: string
  readonly access: 'read' | 'read_write'
  /** Its words hold two halves each (`storage.ts`). */
  readonly packed?: boolean
}

/** How a kernel reads and writes one array. Indices count elements, or vec4s where `vector` was asked for. */
export interface FloatArray {
  readonly name: string
  readonly binding: Binding
  /** WGSL functions of this array alone that `load` and `store` call. */
  readonly functions: string
  /** Expression: f32, or vec4f. */
  load(index: string): string
  /** Statement; `value` is an f32 or vec4f. */
  store(index: string, value: string): string
}

/** Arithmetic and traffic of one launch, for rooflines. */
export interface Cost {
  /** Floating-point operations; a multiply-add counts 2. */
  readonly flops: number
  /** Bytes that must cross memory at least once: every input read once, every output written once. */
  readonly bytes: number
}

/** One launch, ready for a device: entry point `main`, group 0, storage bindings first, the uniform block (if any) last. */
export interface Program {
  /** Short name for profiles, e.g. `matmul.register.4x4`. */
  readonly label: string
  /** Complete WGSL. Equal text means an equal pipeline. */
  readonly wgsl: string
  readonly bindings: readonly Binding[]
  /** Words of the uniform block, or empty when the kernel has none. Floats travel as their bits (`f32Bits`). */
  readonly uniforms: Uint32Array
  readonly grid: readonly [number, number, number]
  readonly cost: Cost
  /** Bytes of workgroup memory. Undefined where the text is a user's. */
  readonly workgroupBytes: number | undefined
  /**
   * 32-bit values that a thread keeps over the steps of its innermost loop: sums, running statistics, a row that it holds. The operands of
   * one step, addresses and what the compiler adds are not counted, so that it is an estimate of registers from below; 0: it reads,
   * computes, writes. Undefined where the text is a user's.
   */
  readonly accumulators: number | undefined
  /** What whoever chose this variant notes about its problem; copies of the program carry it along. */
  readonly chosen?: object
}

/** One way to do a problem. The first variant of a list is the heuristic's choice; the tuner measures all of them. */
export interface Variant {
  readonly name: string
  readonly program: () => Program
}

/**
 * A pointwise tail that the engine generates and a kernel calls on every result before it is stored.
 * `wgsl` defines the function named in the kernel's own documentation and may read `bindings`, which the kernel
 * puts between what it reads and what it writes. It may write further arrays itself, at the elements it is called for.
 *
 *     fn epilogue(acc: vec4f, batch: u32, row: u32, col: u32) -> vec4f    columns col … col + 3, col a multiple of 4
 *     fn epilogueOne(acc: f32, batch: u32, row: u32, col: u32) -> f32
 */
export interface Epilogue {
  readonly bindings: readonly Binding[]
  readonly wgsl: string
  /** Float arrays among the bindings whose loads and stores the text uses; the kernel adds their functions (`storage.ts`). */
  readonly arrays?: readonly FloatArray[]
  /** Distinguishes pipelines; usually the text itself. */
  readonly flopsPerOutput: number
}

/** WGSL declarations of storage bindings, in order, starting at `@binding(first)`. */
export function declareBindings(bindings: readonly Binding[], first = 0): string {
  return bindings
    .map((b, i) => `@group(0) @binding(${first + i}) var<storage, ${b.access}> ${b.name}: array<${b.type}>;`)
    .join('\n')
}

/** WGSL of a uniform block `name` whose members are 4-byte scalars in order, at `@binding(index)`. */
export function declareUniforms(members: Record<string, 'u32' | 'i32' | 'f32'>, index: number, name = 'u'): string {
  const body = Object.entries(members).map(([key, type]) => `  ${key}: ${type},`)
  return `struct Uniforms {\n${body.join('\n')}\n}\n@group(0) @binding(${index}) var<uniform> ${name}: Uniforms;`
}

/** Uniform words for `declareUniforms`, in the same order; f32 members are given as numbers and bit-cast here. */
export function packUniforms(
  members: Record<string, 'u32' | 'i32' | 'f32'>,
  values: Record<string, number>,
): Uint32Array {
  const words = new Uint32Array(Object.keys(members).length)
  const view = new DataView(words.buffer)
  Object.entries(members).forEach(([key, type], i) => {
    const value = values[key]
    if (value === undefined) throw new Error(`packUniforms: no value for '${key}'`)
    if (type === 'f32') view.setFloat32(4 * i, value, true)
    else if (type === 'i32') view.setInt32(4 * i, value, true)
    else view.setUint32(4 * i, value, true)
  })
  return words
}

/**
 * Workgroups in up to three dimensions for `count` of them: beyond `maxGrid` the rest folds into y. The kernel gets its
 * linear index as `wid.x + wid.y * numWorkgroups.x` and must return when that reaches `count`.
 */
export function foldGrid(count: number, maxGrid: number): [number, number, number] {
  if (count <= maxGrid) return [Math.max(count, 1), 1, 1]
  const y = Math.ceil(count / maxGrid)
  return [Math.ceil(count / y), y, 1]
}

/** Smallest multiple of `step` that is at least `value`. */
export const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step

export const ceilDiv = (a: number, b: number): number => Math.ceil(a / b)
