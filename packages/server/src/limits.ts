/**
 * Rate limits, per caller's address, per principal and per project, with the RateLimit headers on every answer. `binding.ts` asks
 * before it does any work. They are counted in this process: with N gateways a caller has N times as much. That is
 * enough, because they only keep the service usable; the limits which guard keys (tries at recovery, openings of a
 * wallet, the breaker) are counted by the enclave, on sealed state.
 */
import { type EndpointName, HOUR_MS, KedgeError, MINUTE_MS } from '@kedge/core';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Principal, principalName } from './principal.ts';

export interface Limits {
  readonly perAddressPerMinute: number;
  readonly perPrincipalPerMinute: number;
  readonly recoveriesPerAddressPerHour: number;
  /** Sign-ups with a publishable key: anybody has that. */
  readonly signUpsPerAddressPerHour: number;
  /** Recoveries, and as many changes of approver lists: each writes letters to people whom the caller names. */
  readonly votesAskedPerProjectPerHour: number;
}

export const defaultLimits: Limits = {
  perAddressPerMinute: 1_200,
  perPrincipalPerMinute: 600,
  recoveriesPerAddressPerHour: 100,
  signUpsPerAddressPerHour: 100,
  votesAskedPerProjectPerHour: 100,
};

export interface RateLimiter {
  byAddress(request: FastifyRequest, reply: FastifyReply): Promise<void>;
  byPrincipal(
    request: FastifyRequest,
    reply: FastifyReply,
    principal: Principal,
    endpoint: EndpointName,
  ): Promise<void>;
  /** After it is known that the caller may: nobody else uses up what a project has. */
  byProject(request: FastifyRequest, reply: FastifyReply, principal: Principal, endpoint: EndpointName): Promise<void>;
}

const asksForVotes: ReadonlySet<EndpointName> = new Set(['createKeyRecovery', 'createListChange']);

/** Needs `@fastify/rate-limit` registered. */
export function createRateLimiter(app: FastifyInstance, limits: Limits): RateLimiter {
  const byIp = (request: FastifyRequest) => request.ip;
  const address = app.createRateLimit({ max: limits.perAddressPerMinute, timeWindow: MINUTE_MS, keyGenerator: byIp });
  const recoveries = app.createRateLimit({
    max: limits.recoveriesPerAddressPerHour,
    timeWindow: HOUR_MS,
    keyGenerator: byIp,
  });
  const signUps = app.createRateLimit({
    max: limits.signUpsPerAddressPerHour,
    timeWindow: HOUR_MS,
    keyGenerator: byIp,
  });
  const principals = app.createRateLimit({
    max: limits.perPrincipalPerMinute,
    timeWindow: MINUTE_MS,
    keyGenerator: (request) => principalName(request.getDecorator<Principal>('principal')),
  });

  const votesAsked = app.createRateLimit({
    max: limits.votesAskedPerProjectPerHour,
    timeWindow: HOUR_MS,
    keyGenerator: (request) => {
      const principal = request.getDecorator<Principal>('principal');
      return `${request.routeOptions.url}/${'project' in principal ? principal.project : ''}`;
    },
  });

  const check = async (limit: typeof address, request: FastifyRequest, reply: FastifyReply) => {
    const state = await limit(request);
    if (state.isAllowed) return;
    reply.headers({
      'ratelimit-limit': state.max,
      'ratelimit-remaining': state.remaining,
      'ratelimit-reset': state.ttlInSeconds,
    });
    if (state.isExceeded)
      throw new KedgeError('rate_limited', undefined, { retryAfterS: Math.max(1, state.ttlInSeconds) });
  };

  return {
    byAddress: (request, reply) => check(address, request, reply),
    async byPrincipal(request, reply, principal, endpoint) {
      if (endpoint === 'createRecovery') await check(recoveries, request, reply);
      if (endpoint === 'createUser' && principal.kind === 'publishable_key') await check(signUps, request, reply);
      if (principal.kind === 'anonymous') return; // the address is all there is to count by
      request.setDecorator<Principal>('principal', principal);
      await check(principals, request, reply);
    },
    async byProject(request, reply, principal, endpoint) {
      if (!asksForVotes.has(endpoint)) return;
      request.setDecorator<Principal>('principal', principal);
      await check(votesAsked, request, reply);
    },
  };
}
