// Before anything is drawn: the reader's colours, so that the page does not flash in others, and whether the address
// names something that takes a moment to be opened.
try {
  const chosen = localStorage.getItem("skiptrace-colours");
  if (chosen) document.documentElement.dataset.colours = chosen;
} catch {
  // A browser that keeps nothing for files follows the system.
}
document.documentElement.dataset.scripts = "";
if (location.hash.includes("=")) document.documentElement.dataset.opening = "";
