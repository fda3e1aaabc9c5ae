import { REDIS, REDIS_APPENDING } from '../support/databases.ts';
import { describeRecipe } from '../support/recipe-suite.ts';

describeRecipe(REDIS);
describeRecipe(REDIS_APPENDING);
