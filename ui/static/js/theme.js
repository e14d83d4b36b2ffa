// Sets the chosen theme before anything is drawn, so that no page flashes. A classic script: modules run too late.
(() => {
  const chosen = localStorage.getItem("outrider.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
