/** The gateway as its entry, tests and journeys compose it. */
export { createGateway, type Gateway } from './app.ts';
export { type GatewayConfig, gatewayConfigSchema, parseConfig, readConfig } from './config.ts';
export { type GatewayKey, gatewayKey, readOrMakeKeyFile } from './gateway-key.ts';
export { defaultLimits, type Limits } from './limits.ts';
export { createLog } from './log.ts';
export { type GatewayParts, serveGateway } from './run.ts';
export type { GatewayDeps, GatewayOptions } from './services.ts';
