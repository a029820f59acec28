/** Entry of the Try Prompt panel. */
import './prompt.css';
import { h } from '../shared/dom';
import { startPrompt } from './panel';

const root = h('div', { attrs: { id: 'app' } });
document.body.append(root);
startPrompt(root);
