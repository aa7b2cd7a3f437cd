/**
 * UltraFace RFB-320: a face detector of 274 thousand parameters, an SSD over a tiny MobileNet with one receptive field
 * block. https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB (MIT, © 2019 Hao Gao), the RFB of
 * Liu, Huang, Wang, "Receptive Field Block Net", ECCV 2018. BatchNorm is folded into the weights (vendor/README.md).
 *
 *   image [N, 3, 240, 320], (rgb − 127) / 128
 *     backbone 0…7    stem, separable convolutions, RFB      → [N,  64, 30, 40]  head 0: faces of about 10, 16, 24 pixels
 *     backbone 8…10   separable convolutions                 → [N, 128, 15, 20]  head 1: 32, 48
 *     backbone 11…12                                         → [N, 256,  8, 10]  head 2: 64, 96
 *     backbone 13     bottleneck                             → [N, 256,  4,  5]  head 3: 128, 192, 256
 *   scores [N, 4420, 2] (background, face), offsets [N, 4420, 4] from the anchors of anchors.ts
 *
 * Deviation: the published graph also decodes the offsets into boxes. Here detect.ts does, on the CPU, for the few
 * anchors that pass the threshold.
 */

/** What the network asks of a tensor; the engine's Tensor fits. Shapes are NCHW, weights [out, in / groups, K, K]. */
export interface ConvTensor<T> {
  readonly shape: readonly number[]
  conv2d(weight: T, options: { bias?: T; stride?: number; padding?: number; dilation?: number; groups?: number }): T
  relu(): T
  add(other: T): T
  reshape(shape: number[]): T
  permute(axes: number[]): T
  softmax(axis: number): T
}

/** Gives the parameter of this name, having checked its shape. */
export type Parameters<T> = (name: string, shape: readonly number[]) => T
export type Concat<T> = (tensors: T[], axis: number) => T

export const INPUT_HEIGHT = 240
export const INPUT_WIDTH = 320

/** Side of the anchors in pixels of the input, per head. */
export const ANCHOR_SIZES = [
  [10, 16, 24],
  [32, 48],
  [64, 96],
  [128, 192, 256],
] as const

type Layer<T> = (x: T) => T

export function ultraface<T extends ConvTensor<T>>(parameters: Parameters<T>, concat: Concat<T>) {
  const sequential =
    (...layers: Layer<T>[]): Layer<T> =>
    (x) =>
      layers.reduce((y, layer) => layer(y), x)
  const relu: Layer<T> = (x) => x.relu()

  /** Convolution with 'same' padding (at stride 1) and bias. */
  const conv = (
    name: string,
    [inputs, outputs]: readonly [number, number],
    { kernel = 1, stride = 1, dilation = 1, groups = 1 } = {},
  ): Layer<T> => {
    const weight = parameters(`${name}.weight`, [outputs, inputs / groups, kernel, kernel])
    const bias = parameters(`${name}.bias`, [outputs])
    const padding = (dilation * (kernel - 1)) / 2
    return (x) => x.conv2d(weight, { bias, stride, padding, dilation, groups })
  }

  /** Depthwise 3×3, ReLU, pointwise 1×1: [N, in, H, W] → [N, out, ⌈H / stride⌉, ⌈W / stride⌉], before its ReLU. */
  const separable = (name: string, [inputs, outputs]: readonly [number, number], stride = 1): Layer<T> =>
    sequential(
      conv(`${name}.depthwise`, [inputs, inputs], { kernel: 3, stride, groups: inputs }),
      relu,
      conv(`${name}.pointwise`, [inputs, outputs]),
    )

  /** Three branches look at 64 channels through dilations 2, 3 and 5; their concatenation adds to a shortcut. */
  const receptiveField = (name: string): Layer<T> => {
    const branch = (b: number, dilation: number, ...middle: Layer<T>[]) =>
      sequential(
        conv(`${name}.branch${b}.reduce`, [64, 8]),
        ...middle,
        conv(`${name}.branch${b}.dilated`, [16, 16], { kernel: 3, dilation }),
      )
    const near = branch(0, 2, conv(`${name}.branch0.conv`, [8, 16], { kernel: 3 }), relu)
    const middle = branch(1, 3, conv(`${name}.branch1.conv`, [8, 16], { kernel: 3 }), relu)
    const far = branch(
      2,
      5,
      conv(`${name}.branch2.conv`, [8, 12], { kernel: 3 }),
      relu,
      conv(`${name}.branch2.expand`, [12, 16], { kernel: 3 }),
      relu,
    )
    const fuse = conv(`${name}.fuse`, [48, 64])
    const shortcut = conv(`${name}.shortcut`, [64, 64])
    return (x) => fuse(concat([near(x), middle(x), far(x)], 1)).add(shortcut(x))
  }

  const stages = [
    sequential(
      // [N, 3, 240, 320]
      conv('backbone.0.conv', [3, 16], { kernel: 3, stride: 2 }),
      relu, // [N, 16, 120, 160]
      separable('backbone.1', [16, 32]),
      relu,
      separable('backbone.2', [32, 32], 2),
      relu, // [N, 32, 60, 80]
      separable('backbone.3', [32, 32]),
      relu,
      separable('backbone.4', [32, 64], 2),
      relu, // [N, 64, 30, 40]
      separable('backbone.5', [64, 64]),
      relu,
      separable('backbone.6', [64, 64]),
      relu,
      receptiveField('backbone.7'),
      relu, // [N, 64, 30, 40]
    ),
    sequential(
      separable('backbone.8', [64, 128], 2),
      relu,
      separable('backbone.9', [128, 128]),
      relu,
      separable('backbone.10', [128, 128]),
      relu, // [N, 128, 15, 20]
    ),
    sequential(
      separable('backbone.11', [128, 256], 2),
      relu,
      separable('backbone.12', [256, 256]),
      relu, // [N, 256, 8, 10]
    ),
    sequential(
      conv('backbone.13.reduce', [256, 64]),
      relu,
      separable('backbone.13', [64, 256], 2),
      relu, // [N, 256, 4, 5]
    ),
  ]

  /** [N, C, h, w] → [N, h·w·anchors, values]: anchors run fastest, then columns, then rows, as in anchors.ts. */
  const perAnchor = (x: T, values: number): T => {
    const [n, c, h, w] = x.shape
    return x.permute([0, 2, 3, 1]).reshape([n, (h * w * c) / values, values])
  }

  const predict = [
    (name: string, values: number) => separable(`heads.0.${name}`, [64, 3 * values]),
    (name: string, values: number) => separable(`heads.1.${name}`, [128, 2 * values]),
    (name: string, values: number) => separable(`heads.2.${name}`, [256, 2 * values]),
    (name: string, values: number) => conv(`heads.3.${name}.conv`, [256, 3 * values], { kernel: 3 }),
  ]
  const heads = predict.map((build) => ({ scores: build('scores', 2), offsets: build('boxes', 4) }))

  return (image: T): { scores: T; offsets: T } => {
    const scores: T[] = []
    const offsets: T[] = []
    let x = image
    for (const [i, stage] of stages.entries()) {
      x = stage(x)
      scores.push(perAnchor(heads[i].scores(x), 2))
      offsets.push(perAnchor(heads[i].offsets(x), 4))
    }
    return { scores: concat(scores, 1).softmax(-1), offsets: concat(offsets, 1) }
  }
}
