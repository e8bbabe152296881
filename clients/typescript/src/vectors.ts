/** Reads vectors of answers. */

import type { Vector } from "../gen/groundswell/common/v1/item_pb.js";

/** The numbers of a vector. Its bytes may begin at any address, which a Float32Array would refuse. */
export function vectorValues({ values, dimension }: Vector): number[] {
  const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
  return Array.from({ length: dimension }, (_, place) => view.getFloat32(4 * place, true));
}
