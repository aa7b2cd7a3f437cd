/**
 * WGSL's subgroup matrices rewritten as loops, so that a kernel which uses them runs, and can be checked, where no adapter has them. Every
 * lane holds whole matrices; subgroups are `lanes` invocations in a row. The text of the kernel itself is not touched.
 */
import type { Program } from '../../kernels/kernel.ts'

export function withoutSubgroupMatrices(program: Program, lanes: number): Program {
  const sizes = /\.(\d+)x(\d+)x(\d+)\./.exec(program.label)!.slice(1).map(Number)
  const [m, n, k] = sizes as [number, number, number]
  const loads: string[] = []
  const size = { left: [m, k], right: [k, n], result: [m, n] } as const
  for (const kind of ['left', 'right'] as const)
    for (const order of ['row_major', 'col_major'])
      for (const name of ['aTile', 'bTile']) {
        const [rows, cols] = size[kind]
        const at = order === 'row_major' ? 'r * stride + c' : 'c * stride + r'
        if ((kind === 'left') !== (name === 'aTile')) continue
        loads.push(`fn load_${kind}_${order}_${name}(offset: u32, stride: u32) -> array<f32, ${rows * cols}> {
  var out: array<f32, ${rows * cols}>;
  for (var r = 0u; r < ${rows}u * one; r++) {
    for (var c = 0u; c < ${cols}u * one; c++) { out[r * ${cols}u + c] = f32(${name}[offset + ${at}]); }
  }
  return out;
}`)
      }
  const functions = `var<private> one: u32;
${loads.join('\n')}
fn multiply(left: array<f32, ${m * k}>, right: array<f32, ${k * n}>, sums: array<f32, ${m * n}>) -> array<f32, ${m * n}> {
  var l = left;
  var r = right;
  var out = sums;
  for (var i = 0u; i < ${m}u * one; i++) {
    for (var j = 0u; j < ${n}u * one; j++) {
      var sum = out[i * ${n}u + j];
      for (var s = 0u; s < ${k}u * one; s++) { sum += l[i * ${k}u + s] * r[s * ${n}u + j]; }
      out[i * ${n}u + j] = sum;
    }
  }
  return out;
}
fn keep(offset: u32, sums: array<f32, ${m * n}>, stride: u32, lane: u32) {
  var all = sums;
  for (var i = lane; i < ${m * n}u; i += ${lanes}u) { results[offset + i / ${n}u * stride + i % ${n}u] = all[i]; }
}
`
  const wgsl = program.wgsl
    .replace('enable subgroups;\n', '')
    .replace('enable chromium_experimental_subgroup_matrix;\n', '')
    .replace('  @builtin(subgroup_id) part: u32,\n', '')
    .replace('  @builtin(subgroup_invocation_id) lane: u32,\n', '')
    .replace(
      '  let tile = wid.x',
      `  one = workgroups.z;\n  let part = lid / ${lanes}u;\n  let lane = lid % ${lanes}u;\n  let tile = wid.x`,
    )
    .replace(/subgroupMatrixLoad<subgroup_matrix_(left|right)<[^>]*>, (\w+)>\(&(\w+), /g, 'load_$1_$2_$3(')
    .replace(/subgroup_matrix_result<[^>]*>/g, `array<f32, ${m * n}>`)
    .replaceAll('subgroupMatrixMultiplyAccumulate(', 'multiply(')
    .replace(/subgroupMatrixStore<row_major>\(&results, (\w+), (\w+), (\w+)\)/g, 'keep($1, $2, $3, lane)')
  return { ...program, wgsl: wgsl + functions }
}
