// Keys of the clip: space plays and stops, comma and full stop go a picture back and on.
const video = document.querySelector(".media video");
const PICTURE_S = 1 / 25;

document.addEventListener("keydown", (event) => {
  if (!video || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, button, dialog, a")) return;
  if (event.key === " ") video.paused ? video.play() : video.pause();
  else if (event.key === ",") video.currentTime -= PICTURE_S;
  else if (event.key === ".") video.currentTime += PICTURE_S;
  else return;
  event.preventDefault();
});
