/**
 * The gateway as one value, built from its dependencies: a Fastify instance and the start and stop of its jobs. `main.ts`
 * composes it with the machine's database, enclave, clock and randomness and is the only one that listens; tests and
 * journeys compose it with others and use `app.inject`. No secret is ever in its process in the clear, save the tokens
 * it hands out.
 */
import { createHash } from 'node:crypto';
import helmet from '@fastify/helmet';
import rateLimit from '@fastify/rate-limit';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { BODY_BYTES_MAX, DAY_MS, errorEntry, type KedgeError, newId, SECOND_MS } from '@kedge/core';
import {
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
} from 'fastify';
import { bindEndpoints, type Handlers } from './binding.ts';
import { enclaveIdentity, jwksOf } from './identity.ts';
import { mailJob } from './jobs/mails.ts';
import { recoveryJobs } from './jobs/recoveries.ts';
import { rotationJob, rotationScheduleJob } from './jobs/rotation.ts';
import { transactionsJob } from './jobs/transactions.ts';
import { upkeepJobs } from './jobs/upkeep.ts';
import { createLedger } from './ledger.ts';
import { createRateLimiter } from './limits.ts';
import { createMetrics, gaugeOf, measuredEnclave } from './metrics.ts';
import { openApiDocument } from './openapi.ts';
import { serveLinkPages } from './pages/approvals.ts';
import { homePage, homeStyle } from './pages/home.ts';
import { problemOf, toKedgeError } from './problems.ts';
import { readiness } from './readiness.ts';
import { approverListRoutes } from './routes/approver-lists.ts';
import { backupKeyRoutes } from './routes/backup-keys.ts';
import { backupRoutes } from './routes/backups.ts';
import { enclaveRoutes, enclaveView } from './routes/enclave.ts';
import { keyRecoveryRoutes } from './routes/key-recoveries.ts';
import { ledgerRoutes } from './routes/ledger.ts';
import { projectRoutes } from './routes/projects.ts';
import { recoveryRoutes } from './routes/recoveries.ts';
import { recoveryMaterialRoutes } from './routes/recovery-material.ts';
import { releaseRoutes } from './routes/releases.ts';
import { rotationRoutes, rotationStatus } from './routes/rotations.ts';
import { sessionRoutes } from './routes/sessions.ts';
import { tokenRoutes } from './routes/tokens.ts';
import { transactionRoutes } from './routes/transactions.ts';
import { userRoutes } from './routes/users.ts';
import { vaultRoutes } from './routes/vaults.ts';
import { walletRoutes } from './routes/wallets.ts';
import { createScheduler, type Scheduler } from './scheduler.ts';
import type { GatewayDeps, Services } from './services.ts';
import { acrossProjects, findHead, findLastBackupAt } from './store.ts';
import { acceptForms } from './upload.ts';

export interface Gateway {
  readonly app: FastifyInstance;
  readonly scheduler: Scheduler;
  /** Meets the enclave, signs a head and starts the jobs. An enclave that is away is met by the next tick. */
  start(): Promise<void>;
  /** Answers what is under way, waits for jobs, chains the last events. Database and enclave are the caller's to close. */
  stop(): Promise<void>;
}

export async function createGateway(deps: GatewayDeps): Promise<Gateway> {
  const services = servicesOf(deps);
  const app = fastify(serverOptions(services));
  const jobs = [
    ...upkeepJobs(services),
    rotationJob(services),
    rotationScheduleJob(services),
    transactionsJob(services),
    ...recoveryJobs(services),
    mailJob(services),
  ];
  const scheduler = createScheduler({ db: deps.db, clock: deps.clock, log: deps.log, name: deps.options.name, jobs });

  answerFailures(app);
  app.removeContentTypeParser('text/plain');
  acceptForms(app);
  await protect(app);
  measure(app, services);
  await documentApi(app, deps.options.url);
  const limiter = createRateLimiter(app, deps.options.limits);
  bindEndpoints(app, services, handlersOf(services), limiter);
  servePages(app, services);
  await serveLinkPages(app, services, limiter.byAddress);
  await app.ready();

  return {
    app,
    scheduler,
    async start() {
      await services.ledger
        .signHeads()
        .catch((error: unknown) =>
          deps.log.warn({ err: error }, 'no head could be signed at the start; the next tick tries again'),
        );
      scheduler.start();
    },
    async stop() {
      await app.close();
      await scheduler.stop();
      await services.ledger.chain();
    },
  };
}

function servicesOf(deps: GatewayDeps): Services {
  const metrics = createMetrics();
  const enclave = measuredEnclave(deps.enclave, metrics);
  const { db, clock, random, log } = deps;
  const onChainFailure = (error: unknown) =>
    log.warn({ err: error }, 'the ledger could not be brought up to date; the next run tries again');
  const ledger = createLedger({ db, enclave, clock, random, onChainFailure });
  const webTokens = deps.key.webTokens(clock);
  return { ...deps, enclave, ledger, metrics, webTokens, boot: newId(clock, random), startedAtMs: clock.wallMs() };
}

/** Every endpoint, by the noun of the glossary. One that is missing here does not compile. */
function handlersOf(services: Services): Handlers {
  const backupKeys = backupKeyRoutes(services);
  const recoveryMaterial = recoveryMaterialRoutes(services);
  return {
    ...enclaveRoutes(services),
    ...projectRoutes(services),
    ...tokenRoutes(services),
    ...userRoutes(services),
    ...sessionRoutes(services),
    ...recoveryRoutes(services),
    ...vaultRoutes(services),
    ...walletRoutes(services),
    ...transactionRoutes(services),
    ...backupKeys,
    ...recoveryMaterial,
    createPartnerKey: (call) => backupKeys.createBackupKey({ ...call }),
    storePartnerData: (call) => recoveryMaterial.storeSecureData({ ...call }),
    storePartnerFile: (call) => recoveryMaterial.storeSecureFile({ ...call, upload: { ...call.upload } }),
    ...approverListRoutes(services),
    ...keyRecoveryRoutes(services),
    ...releaseRoutes(services),
    ...rotationRoutes(services),
    ...backupRoutes(services),
    ...ledgerRoutes(services),
  };
}

const HEADERS_BYTES_MAX = 16 * 1024;

function serverOptions({ log, clock, random, options, tls }: Services) {
  return {
    loggerInstance: log as FastifyBaseLogger,
    genReqId: () => newId(clock, random),
    requestIdHeader: false as const, // a caller does not choose what our log says
    trustProxy: options.trustedProxy ?? false,
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: options.requestMsMax, // to arrive whole
    handlerTimeout: options.requestMsMax, // to be answered
    connectionTimeout: 2 * options.requestMsMax,
    keepAliveTimeout: 5 * SECOND_MS,
    ...(tls
      ? { https: { cert: Buffer.from(tls.cert), key: Buffer.from(tls.key), maxHeaderSize: HEADERS_BYTES_MAX } }
      : { http: { maxHeaderSize: HEADERS_BYTES_MAX } }),
    return503OnClosing: true,
    exposeHeadRoutes: false,
    routerOptions: { ignoreTrailingSlash: false },
    frameworkErrors: (error: FastifyError, request: FastifyRequest, reply: FastifyReply) =>
      sendProblem(toKedgeError(error), request, reply),
  };
}

function answerFailures(app: FastifyInstance): void {
  app.setErrorHandler((error, request, reply) => sendProblem(toKedgeError(error), request, reply));
  app.setNotFoundHandler((request, reply) => sendProblem(toKedgeError({ statusCode: 404 }), request, reply));
}

function sendProblem(failure: KedgeError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { status } = errorEntry(failure.code);
  if (status >= 500) request.log.error({ err: failure, code: failure.code }, 'a request failed');
  if (failure.retryAfterS !== undefined) reply.header('retry-after', failure.retryAfterS);
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  return reply
    .code(status)
    .headers({ 'cache-control': 'no-store', 'x-request-id': request.id }) // a path that doesn't decode never meets the hooks
    .type('application/problem+json; charset=utf-8')
    .serializer(JSON.stringify)
    .send(problemOf(failure, request.id));
}

const CONNECTIONS_MAX = 2_000;

/** Nothing from outside, no script but that of /docs, no frame, no referrer. */
async function protect(app: FastifyInstance): Promise<void> {
  app.server.maxConnections = CONNECTIONS_MAX;
  const styleHash = createHash('sha256').update(homeStyle).digest('base64');
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        styleSrc: [`'sha256-${styleHash}'`],
        baseUri: ["'none'"],
        formAction: ["'none'"],
        frameAncestors: ["'none'"],
      },
    },
    referrerPolicy: { policy: 'no-referrer' },
  });
  await app.register(rateLimit, { global: false });
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
  });
}

function measure(app: FastifyInstance, services: Services): void {
  const { db, enclave, clock, ledger, metrics } = services;
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none';
    metrics.requests.inc({ method: request.method, route, status: String(reply.statusCode) });
    metrics.requestSeconds.observe({ method: request.method, route }, reply.elapsedTime / SECOND_MS);
  });
  const secondsSince = (at: Date | null | undefined) => (at ? (clock.wallMs() - at.getTime()) / SECOND_MS : null);
  const on = acrossProjects(db);
  gaugeOf(metrics, 'kedge_enclave_sealed', '1 while the enclave is sealed.', async () =>
    (await enclave.status()).sealed === null ? 0 : 1,
  );
  gaugeOf(
    metrics,
    'kedge_wallet_opens_last_minute',
    'Wallet openings in the last minute.',
    async () => (await enclave.status()).opens.lastMinute,
  );
  gaugeOf(
    metrics,
    'kedge_rotation_left',
    'Client secrets and wallets not yet under the active server key.',
    async () => {
      const { done, total } = await rotationStatus(services);
      return total - done;
    },
  );
  gaugeOf(
    metrics,
    'kedge_ledger_lag_seconds',
    'Age of the oldest event that is not chained yet.',
    async () => (await ledger.sequencer.lagMs()) / SECOND_MS,
  );
  gaugeOf(metrics, 'kedge_ledger_head_age_seconds', 'Age of the newest signed head.', async () =>
    secondsSince((await findHead(on))?.signed_at),
  );
  gaugeOf(metrics, 'kedge_backup_age_seconds', 'Age of the newest backup.', async () =>
    secondsSince(await findLastBackupAt(on)),
  );
  gaugeOf(metrics, 'kedge_database_bytes', 'Size of the primary database.', () => db.sizeBytes());
}

async function documentApi(app: FastifyInstance, url: string): Promise<void> {
  const document = openApiDocument(url);
  await app.register(swagger, { mode: 'static', specification: { document: document as never } });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    // Its page sets style attributes; all else comes from here and nothing from outside.
    staticCSP:
      "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'",
  });
  app.get('/openapi.json', (_, reply) => reply.send(document));
}

function servePages(app: FastifyInstance, services: Services): void {
  const { enclave, chains, clock, metrics, options } = services;
  const networks = Object.values(chains).map((chain) => chain.network);
  app.get('/', async (_, reply) => {
    const view = await enclaveView(services).catch(() => null);
    return reply.type('text/html; charset=utf-8').send(homePage({ url: options.url, enclave: view, networks }));
  });
  app.get('/healthz', () => ({ ok: true }));
  app.get('/readyz', async (_, reply) => {
    const state = await readiness(services);
    return reply
      .code(state.ready ? 200 : 503)
      .header('cache-control', 'no-store')
      .send(state);
  });
  app.get('/metrics', async (_, reply) =>
    reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()),
  );
  app.get('/.well-known/kedge-enclave.json', async (_, reply) =>
    reply.header('cache-control', 'public, max-age=600').send(jwksOf(await enclaveIdentity(enclave))),
  );
  app.get('/.well-known/security.txt', (_, reply) =>
    reply.type('text/plain; charset=utf-8').send(
      [
        'Contact: https://github.com/kedge/kedge/security/advisories/new',
        // RFC 9116: a date of expiry is required and should be less than a year away.
        `Expires: ${new Date(clock.wallMs() + 180 * DAY_MS).toISOString()}`,
        `Canonical: ${options.url}/.well-known/security.txt`,
        'Preferred-Languages: en',
        '',
      ].join('\n'),
    ),
  );
}
