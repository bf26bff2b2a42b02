// Search in pages that are opened from a disk, where browsers start no worker: its script runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inside = frame.contentWindow
      inside.document.open()
      inside.document.write("<!doctype html><body></body>")
      inside.document.close()
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", {data}))
      const script = inside.document.createElement("script")
      const loaded = new Promise(resolve => script.addEventListener("load", resolve))
      script.src = new URL(url, location.href)
      inside.document.body.append(script)
      this.postMessage = data => loaded.then(() => inside.dispatchEvent(new MessageEvent("message", {data})))
    }
  }
}
