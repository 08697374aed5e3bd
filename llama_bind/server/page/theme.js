// Sets the chosen colours before anything is drawn; a plain script for that reason. Not for: the switch (app.js).
(() => {
  try {
    const theme = JSON.parse(localStorage.getItem("llama_bind.theme"));
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // a browser that keeps nothing: the system's colours
  }
})();
