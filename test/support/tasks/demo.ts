import { demo } from '../../demo/demo.ts';
import { runTask } from '../setup/task.ts';

await runTask(demo);
