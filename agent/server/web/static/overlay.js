// Boxes over a picture: an SVG as large as the picture's element, which fits as the picture does.
const SVG = "http://www.w3.org/2000/svg";

export function shape(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

/** Draw boxes ([x, y, width, height] in shares of a picture of this size) in place of what `svg` shows. */
export function drawBoxes(svg, width, height, boxes) {
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(...boxes.map(([x, y, w, h]) => shape("rect", {
    x: x * width, y: y * height, width: w * width, height: h * height, rx: Math.min(width, height) / 100,
  })));
}
