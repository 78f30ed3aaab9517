// The webcam: its frames as canvases.

// {frame(side) -> canvas with no side longer than `side`; stop()}. Throws with words for people.
export async function openCamera() {
  if (!navigator.mediaDevices) {
    throw new Error("Browsers give a camera to pages from https or from this machine only: choose a picture instead.");
  }
  let stream;
  try {
    const wanted = { facingMode: "environment", width: { ideal: 640 }, height: { ideal: 480 } };
    stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
  } catch (error) {
    throw new Error(error.name === "NotAllowedError" ? "The camera was not allowed." : "No camera can be opened here.");
  }
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.srcObject = stream;
  await video.play();
  return {
    frame(side) {
      const scale = Math.min(1, side / Math.max(video.videoWidth, video.videoHeight));
      const canvas = document.createElement("canvas");
      canvas.width = Math.max(16, Math.round(video.videoWidth * scale));
      canvas.height = Math.max(16, Math.round(video.videoHeight * scale));
      canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
      return canvas;
    },
    stop() {
      stream.getTracks().forEach((track) => track.stop());
    },
  };
}
