// Runs before anything is drawn, so that the page never flashes in the wrong theme.
(() => {
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try {
      return localStorage.getItem("understudy-theme");
    } catch {
      return null; // storage may be refused
    }
  };
  const show = () => {
    root.dataset.theme = stored() ?? (system.matches ? "dark" : "light");
  };
  window.toggleTheme = () => {
    const next = root.dataset.theme === "dark" ? "light" : "dark";
    root.dataset.theme = next;
    try {
      localStorage.setItem("understudy-theme", next);
    } catch {
      // kept for this page only
    }
    return next;
  };
  system.addEventListener("change", show);
  show();
})();
