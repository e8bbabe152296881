/** Gives calls their deadlines and retries, as `service_config.json` says; Connect itself has none. */

import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import config from "../gen/service_config.json" with { type: "json" };

interface Policy {
  maxAttempts: number;
  initialBackoff: string;
  maxBackoff: string;
  backoffMultiplier: number;
}
const RETRIED = new Set([Code.Unavailable, Code.ResourceExhausted]);
const METHODS = new Map(
  (config.methodConfig as { name: typeof config.methodConfig[0]["name"]; timeout?: string; retryPolicy?: Policy }[])
    .flatMap(({ name, timeout, retryPolicy }) =>
      name.map((each) => [`${each.service}/${each.method}`, { timeout, retryPolicy }] as const)),
);
const { maxTokens, tokenRatio } = config.retryThrottling;

/**
 * A transport whose unary calls have a deadline, and are tried again within it where that is safe.
 * A failure takes a token, a success gives a part back; with less than half of them none is tried again.
 */
export function withRetries(transport: Transport): Transport {
  let tokens = maxTokens;
  return {
    async unary(method, signal, timeoutMs, header, input, contextValues) {
      const { timeout, retryPolicy } = METHODS.get(`${method.parent.typeName}/${method.name}`) ?? {};
      const limitMs = timeoutMs ?? (timeout ? milliseconds(timeout) : undefined);
      const deadline = limitMs === undefined ? Infinity : Date.now() + limitMs;
      for (let attempt = 1; ; attempt++) {
        const leftMs = limitMs === undefined ? undefined : Math.max(1, deadline - Date.now());
        try {
          const answer = await transport.unary(method, signal, leftMs, header, input, contextValues);
          tokens = Math.min(maxTokens, tokens + tokenRatio);
          return answer;
        } catch (caught) {
          const error = ConnectError.from(caught);
          if (!retryPolicy || !RETRIED.has(error.code)) throw error;
          tokens = Math.max(0, tokens - 1);
          const waitMs = pauseMs(error, attempt, retryPolicy);
          const isLast = attempt === retryPolicy.maxAttempts || tokens <= maxTokens / 2;
          if (isLast || waitMs < 0 || Date.now() + waitMs >= deadline) throw error;
          await sleep(waitMs, undefined, signal ? { signal } : {});
        }
      }
    },
    stream: transport.stream.bind(transport),
  };
}

/** How long to wait before the next attempt; below 0 when the server asks for none. */
function pauseMs(error: ConnectError, attempt: number, policy: Policy): number {
  const asked = error.metadata.get("grpc-retry-pushback-ms");
  if (asked !== null) return Number.isNaN(Number(asked)) ? -1 : Number(asked);
  const grown = milliseconds(policy.initialBackoff) * policy.backoffMultiplier ** (attempt - 1);
  return Math.min(grown, milliseconds(policy.maxBackoff)) * (0.8 + 0.4 * Math.random());
}

function milliseconds(seconds: string): number {
  return 1000 * Number.parseFloat(seconds);
}
