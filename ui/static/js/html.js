// The few names of the vendored libraries that the pages use.
export { html, render, Component } from "../vendor/htm-preact.js";
export { useCallback, useEffect, useMemo, useRef, useState } from "../vendor/preact-hooks.js";
export { batch, computed, effect, signal, useComputed, useSignal } from "../vendor/signals.js";
