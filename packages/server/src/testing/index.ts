/** For tests of other folders: a whole gateway, and projects in it. No shipped entry imports it. */
export { createTestGateway, createTestProject, type TestGateway, type TestProject } from './gateway.ts';
