export { type Random, seeded } from '../../src/simulation/random.ts';
