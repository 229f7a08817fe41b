/** YAML for the verbs that need it, loaded late. Named here, since the bundler keeps no names of a CommonJS package. */
export { parse, stringify } from 'yaml'
