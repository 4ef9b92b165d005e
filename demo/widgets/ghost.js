// The outline of a cat's face to paint on, as the photos show it: it fills the picture of s × s pixels.
function ghost(pen, s) {
  const path = new Path2D();
  for (const side of [-1, 1]) {
    const x = (part) => (0.5 + side * part) * s;
    path.moveTo(x(0.44), 0.46 * s);
    path.lineTo(x(0.41), 0.06 * s);
    path.lineTo(x(0.14), 0.23 * s);
    path.moveTo(x(0.2) + 0.1 * s, 0.49 * s);
    path.ellipse(x(0.2), 0.49 * s, 0.1 * s, 0.07 * s, 0, 0, 7);
    path.moveTo(x(0.2) + 0.035 * s, 0.49 * s);
    path.ellipse(x(0.2), 0.49 * s, 0.035 * s, 0.065 * s, 0, 0, 7);
  }
  path.moveTo(0.72 * s, 0.79 * s);
  path.ellipse(0.5 * s, 0.79 * s, 0.22 * s, 0.16 * s, 0, 0, 7);
  path.moveTo(0.44 * s, 0.67 * s);
  path.lineTo(0.56 * s, 0.67 * s);
  path.lineTo(0.5 * s, 0.74 * s);
  path.closePath();
  path.moveTo(0.95 * s, 0.58 * s);
  path.ellipse(0.5 * s, 0.58 * s, 0.45 * s, 0.4 * s, 0, 0, 7);
  pen.setLineDash([7, 7]);
  for (const [width, style] of [[4, "rgba(0,0,0,.35)"], [2, "rgba(255,255,255,.8)"]]) {
    pen.lineWidth = width;
    pen.strokeStyle = style;
    pen.stroke(path);
  }
  pen.setLineDash([]);
}
