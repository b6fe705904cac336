// Charts whose loss, axis and scale a reader chooses. Python made one specification for each chart, axis and scale
// (reports/charts.py); here are the choice, the points of it, and the line that counts what a logarithm cannot show.
const explored = {{ dict(explored, rows=explored.rows | packed) | tojson if explored else "null" }};
if (explored) explored.rows = explored.rows.flatMap(table => table.rows.map(row => Object.fromEntries(table.fields.map((field, place) => [field, row[place]]))));
function explore(explored) {
  const box = document.getElementById("explorer"), chosen = name => box.querySelector(`[name="${name}"]`).value;
  const charts = [...box.querySelectorAll(".chart")];
  const most = new Map(explored.axes.map(axis => [axis.name, axis.panels.length]));
  function wide(axis) {
    const room = box.clientWidth - 75, panels = most.get(axis);
    const columns = Math.max(1, Math.min(panels, Math.floor(room / 270)));
    return {columns, width: Math.max(180, Math.min(panels === 1 ? 680 : 520, Math.floor(room / columns) - 24))};
  }
  function outside(measure, points) {
    const shown = points.filter(point => point.kind === "cell"), named = [];
    for (const [field, what] of explored.measures[measure])
      for (const point of shown) if (!(point[field] > 0)) named.push(`${what} of ${point.sweep ? point.sweep + ", " : ""}${point.mode}, rank ${point.rank}, N = ${point.N.toLocaleString("en")} (${point[field].toPrecision(2)})`);
    if (!named.length) return "";
    const all = shown.length * explored.measures[measure].length;
    return `${named.length} of ${all} points are not positive and have no place on a logarithmic axis: ${named.join("; ")}.`;
  }
  function show() {
    const axis = chosen("axis"), loss = chosen("loss"), scale = chosen("scale");
    const points = explored.rows.filter(row => row.loss === loss && (row.kind === "cell" || row.axis === axis));
    const title = explored.losses.find(one => one.column === loss).title, {columns, width} = wide(axis);
    for (const chart of charts) {
      const measure = chart.dataset.measure;
      const spec = JSON.parse(JSON.stringify(explored.specs[`${measure}-${axis}-${scale}`]).replaceAll("$loss", title));
      const there = field => points.some(point => field in point && (scale === "linear" || point[field] > 0));
      spec.spec.layer = spec.spec.layer.filter((_, number) => there(spec.usermeta.needs[number]));
      for (const [field, said] of Object.entries(spec.usermeta.only_with)) if (!there(field)) spec.title.text = spec.title.text.map(line => line.replace(said, ""));
      spec.columns = columns;
      spec.spec.width = width;
      const beside = chart.parentElement, empty = !spec.spec.layer.length;
      chart.hidden = empty;
      chart.nextElementSibling.hidden = empty;
      if (!empty) draw(chart.id, {...spec, datasets: {points}}).catch(console.error);
      beside.querySelector(".outside").textContent = scale === "log" ? outside(measure, points) : "";
      beside.querySelector(".loss").textContent = title;
      beside.querySelectorAll("[data-for]").forEach(line => { line.hidden = ![axis, scale].includes(line.dataset.for) || (line.dataset.for === axis && !there("y")); });
    }
  }
  box.querySelectorAll("select").forEach(select => select.addEventListener("change", show));
  charts.forEach(chart => pictures(chart.id));
  redraw.push(show);
  show();
  let before = box.clientWidth;
  new ResizeObserver(() => { if (box.clientWidth !== before) { before = box.clientWidth; show(); } }).observe(box);
}
if (explored) explore(explored);
