// Airflow keeps its theme in the storage of this origin: light, dark or system. Loaded before anything is drawn.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const chosen = localStorage.getItem("theme");
    const dark = chosen === "dark" || (chosen !== "light" && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    document.dispatchEvent(new CustomEvent("themechange"));
  };
  // The event comes from the document around this one, where the theme is changed.
  addEventListener("storage", apply);
  system.addEventListener("change", apply);
  apply();
})();
