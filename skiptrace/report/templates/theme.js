// Before anything is drawn, so that the page does not flash in the other colours.
try {
  const chosen = localStorage.getItem("skiptrace-colours");
  if (chosen) document.documentElement.dataset.colours = chosen;
} catch {
  // A browser that keeps nothing for files follows the system.
}
