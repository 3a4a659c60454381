// The route is the part of the URL after the #, so it can be shared, and works below any path.
import { useLayoutEffect, useState } from "./preact.js";
import { query } from "./api.js";

export function read(hash = location.hash) {
  const [path, given] = hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").filter(Boolean), values: Object.fromEntries(new URLSearchParams(given ?? "")) };
}

export const link = (path, values = {}) => `#/${path}${query(values)}`;
export const go = (path, values) => { location.hash = link(path, values); };

export function useRoute() {
  const [route, setRoute] = useState(read);
  useLayoutEffect(() => { // before paint, so that no change of the URL is missed
    const look = () => setRoute(read());
    addEventListener("hashchange", look);
    return () => removeEventListener("hashchange", look);
  }, []);
  return route;
}
