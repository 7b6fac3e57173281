// Draws the figures in the page's colours, redraws them when these change, and leads from a point to its trial.
"use strict";
(() => {
  const figures = new Map(JSON.parse(document.getElementById("figures").textContent).map((figure) => [figure.key, figure]));
  const plots = [...document.querySelectorAll(".plot")];
  const shown = new Map();
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const PAPER = { text: "#000000", quiet: "#444444", line: "#d5d5d5", page: "#ffffff" };

  const screen = () => {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(["text", "quiet", "line", "page"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  };

  const themed = (layout, height, colours) => {
    const axis = { gridcolor: colours.line, linecolor: colours.line, zerolinecolor: colours.line, tickcolor: colours.line, automargin: true };
    return {
      ...layout,
      height,
      autosize: true,
      paper_bgcolor: colours.page, // plotly gives the numbers beside parallel axes a halo of it
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colours.text, family: "system-ui, sans-serif", size: 12 },
      margin: { l: 56, r: 12, t: 14, b: 44, ...layout.margin },
      xaxis: { ...axis, ...layout.xaxis },
      yaxis: { ...axis, ...layout.yaxis },
      hoverlabel: { bgcolor: colours.page, bordercolor: colours.line, font: { color: colours.text }, align: "left" },
      hovermode: "closest",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colours.quiet },
    };
  };

  const draw = (plot, colours) => {
    const figure = figures.get(plot.dataset.figure);
    const view = figure.views[shown.get(figure.key) ?? 0];
    const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
    return Plotly.react(plot, view.data, themed(view.layout, figure.height, colours), config);
  };

  const drawAll = (colours) => Promise.all(plots.map((plot) => draw(plot, colours)));

  const toTrial = (event) => {
    const point = event.points[0];
    const number = point.customdata ?? point.data.meta?.trial;
    if (number !== undefined && document.getElementById(`trial-${number}`)) location.hash = `trial-${number}`;
  };

  drawAll(screen()).then(() => {
    for (const plot of plots) plot.on("plotly_click", toTrial);
    document.body.dataset.drawn = String(plots.length);
  });
  for (const select of document.querySelectorAll("select[data-figure]")) {
    select.addEventListener("change", () => {
      shown.set(select.dataset.figure, Number(select.value));
      draw(plots.find((plot) => plot.dataset.figure === select.dataset.figure), screen());
    });
  }
  dark.addEventListener("change", () => drawAll(screen()));
  window.addEventListener("beforeprint", () => drawAll(PAPER));
  window.addEventListener("afterprint", () => drawAll(screen()));
})();
