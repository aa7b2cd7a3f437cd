/** Names that a user's op puts into WGSL: each must be free, so that an error is about the user's own words. */

/** What the generated code declares, and the words of WGSL that a person is likely to try. */
const taken = new Set(
  (
    'i row start width rows lanes lane wid nwg lid gid uniforms lane_index main row_sum row_max row_min row_shared ' +
    'alias break case const const_assert continue continuing default diagnostic discard else enable false fn for if let loop ' +
    'override requires return struct switch true var while array atomic bool f16 f32 i32 u32 vec2 vec3 vec4 vec2f vec3f vec4f ' +
    'mat2x2 mat3x3 mat4x4 ptr sampler texture abs all any clamp cos dot exp floor fract length log max min mix pow round select ' +
    'sign sin sqrt step tan tanh'
  ).split(' '),
)

export interface Names {
  readonly op: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  /** Constants and uniforms. */
  readonly attributes: readonly string[]
  /** Named axes; each is a constant, and in lower case a coordinate. */
  readonly axes: readonly string[]
}

/** @throws Error that names the op, the name and what is wrong with it */
export function checkNames({ op, inputs, outputs, attributes, axes }: Names): void {
  const owner = new Map<string, string>()
  const claim = (name: string, what: string) => {
    if (!/^[A-Za-z][A-Za-z0-9_]*$/.test(name) || name.includes('__'))
      throw new Error(`defineOp '${op}': ${what} '${name}' is no name in WGSL: letters, digits and single underscores`)
    if (taken.has(name))
      throw new Error(`defineOp '${op}': ${what} '${name}' is a word of WGSL or of the generated code`)
    const other = owner.get(name)
    if (other) throw new Error(`defineOp '${op}': ${what} '${name}' is already the name of ${other}`)
    owner.set(name, what)
  }
  for (const name of inputs) claim(name, 'input')
  for (const name of outputs) claim(name, 'output')
  for (const name of attributes) claim(name, 'attribute')
  for (const name of new Set(axes)) {
    if (!/^[A-Z]/.test(name))
      throw new Error(
        `defineOp '${op}': axis '${name}' must begin with a capital: in lower case it names the coordinate`,
      )
    claim(name, 'axis')
    claim(name.toLowerCase(), `coordinate of axis ${name}`)
  }
}
