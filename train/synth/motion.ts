/** How a head moves in one clip: pose, blinks, gaze and speech as smooth functions of time. */
import { clamp, Random, smoothstep, wander } from './random.ts'

/** The state of one frame. Lengths are in frame sides, angles in radians. */
export interface Pose {
  x: number
  y: number
  /** Half the head's height. */
  radius: number
  yaw: number
  pitch: number
  roll: number
  /** 0 closed … 1 wide open. */
  mouth: number
  /** −1 pursed … 1 broad. */
  smile: number
  /** 0 shut … 1 open. */
  lids: number
  gazeX: number
  gazeY: number
  brows: number
  /** Offset of the camera over the background, in frame sides. */
  cameraX: number
  cameraY: number
  /** Gain of the light. */
  light: number
}

/** The clip's motion: a pose for any time in seconds, also before 0 and after the end. */
export function makeMotion(seed: number): (seconds: number) => Pose {
  const r = new Random(seed)
  const slow = () => wander(r, r.uniform(1.6, 3.2))
  const [x, y, zoom, yaw, pitch, roll] = [slow(), slow(), slow(), slow(), slow(), slow()]
  const [smile, gazeX, gazeY, brows, cameraX, cameraY] = [slow(), slow(), slow(), slow(), slow(), slow()]
  const syllables = wander(r, r.uniform(0.24, 0.36))
  const phrases = wander(r, r.uniform(0.9, 1.5))
  const flicker = wander(r, r.uniform(0.1, 0.3))
  const [homeX, homeY] = [0.5 + r.uniform(-0.04, 0.04), 0.49 + r.uniform(-0.03, 0.03)]
  const radius = r.uniform(0.3, 0.335)
  const [homeYaw, homePitch, homeRoll] = [r.uniform(-0.12, 0.12), r.uniform(-0.05, 0.05), r.uniform(-0.04, 0.04)]
  const lively = r.uniform(0.7, 1.3)
  const mood = r.uniform(-0.2, 0.5)
  const depth = r.uniform(0.004, 0.012)
  const blinkEvery = r.uniform(1.1, 2.2)
  const blinkPhase = r.uniform(0, blinkEvery)
  return (t) => {
    const speaking = smoothstep(-0.35, 0.2, phrases(t))
    const sinceBlink = (((t + blinkPhase) % blinkEvery) + blinkEvery) % blinkEvery
    return {
      x: homeX + 0.016 * lively * x(t),
      y: homeY + 0.012 * lively * y(t) + 0.002 * speaking * syllables(t),
      radius: radius * (1 + 0.015 * zoom(t)),
      yaw: homeYaw + 0.16 * lively * yaw(t),
      pitch: homePitch + 0.09 * lively * pitch(t) + 0.02 * speaking * syllables(t + 0.08),
      roll: homeRoll + 0.06 * lively * roll(t),
      mouth: clamp(speaking * (0.42 + 0.5 * syllables(t))),
      smile: clamp(mood + 0.45 * smile(t), -1, 1),
      // shut and open again within a third of a second
      lids: 1 - smoothstep(0.16, 0.03, Math.abs(sinceBlink - 0.16)),
      gazeX: 0.45 * Math.tanh(2.5 * gazeX(t)),
      gazeY: 0.25 * Math.tanh(2 * gazeY(t)),
      brows: 0.5 * brows(t) + 0.25 * speaking,
      cameraX: 0.012 * cameraX(t),
      cameraY: 0.009 * cameraY(t),
      light: 1 + depth * flicker(t),
    }
  }
}
